// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rochdale/backups"
	"rochdale/backups/restictest"
)

// sftpServer is OpenSSH's, of Debian's package openssh-sftp-server; it is spoken
// to without the encryption around it.
const sftpServer = "sftp.command=/usr/lib/openssh/sftp-server"

// TestSFTP walks through a repository on another machine.
func TestSFTP(t *testing.T) {
	t.Parallel()
	prepare(t)
	d, r := restictest.Door(t), restictest.Repository(t, "far")
	local := r
	r.URL, r.Options = "sftp:somebody@somewhere:"+r.URL, []string{sftpServer}
	walkRemote(t, d, r)
	stranger := r
	stranger.PasswordFile = filepath.Join(t.TempDir(), "password")
	write(t, stranger.PasswordFile, "other")
	_, err := d.Identify(t.Context(), stranger)
	wants(t, err, "backups.no-key-fits")
	if err := os.Remove(filepath.Join(local.URL, "config")); err != nil {
		t.Fatal(err)
	}
	_, err = d.Init(t.Context(), r)
	wants(t, err, "backups.config-lost")
	r.Options = []string{"sftp.command=/bin/false"}
	_, err = d.Identify(t.Context(), r)
	wants(t, err, "backups.no-session")
}

// walkRemote makes a repository, saves, checks and restores.
func walkRemote(t *testing.T, d *backups.Door, r backups.Repository) {
	t.Helper()
	id, err := d.Init(t.Context(), r)
	if err != nil || id == "" {
		t.Fatal(id, err)
	}
	saved := backup(t, d, r, wholeBackup())
	if _, err := d.Check(t.Context(), r, backups.Part{N: 1, T: 1}); err != nil {
		t.Error(err)
	}
	restoreIdentical(t, d, r, saved.SnapshotID, source())
	if entries, err := os.ReadDir(d.Cache); err != nil || len(entries) == 0 {
		t.Errorf("no cache: %v, %v", entries, err)
	}
}

// TestREST speaks to a server of restic's protocol: with the right credentials,
// with others, with rights to add alone, and when it is gone.
func TestREST(t *testing.T) {
	t.Parallel()
	prepare(t)
	dir, address, frozen := t.TempDir(), freeAddress(t), freeAddress(t)
	stop := serve(t, "--addr", address, dir)
	serve(t, "--addr", frozen, "--append-only", dir)
	d, r := restictest.Door(t), restictest.Repository(t, "far")
	r.URL, r.EnvFile = "rest:http://"+address+"/repository/", filepath.Join(t.TempDir(), "env")
	write(t, r.EnvFile, "RESTIC_REST_USERNAME=coop\nRESTIC_REST_PASSWORD=secret\n")
	walkRemote(t, d, r)

	adding := r
	adding.URL = "rest:http://" + frozen + "/repository/"
	backup(t, d, adding, wholeBackup())
	_, err := d.Forget(t.Context(), adding, backups.Retention{Last: 1}, "full")
	wants(t, err, "backups.not-forgotten")
	if list, err := d.Snapshots(t.Context(), adding, "full"); err != nil || len(list) != 2 {
		t.Errorf("left %v, %v", list, err)
	}

	other := r
	other.EnvFile = filepath.Join(t.TempDir(), "env")
	write(t, other.EnvFile, "RESTIC_REST_USERNAME=coop\nRESTIC_REST_PASSWORD=guess\n")
	_, err = d.Backup(t.Context(), other, wholeBackup())
	wants(t, err, "backups.refused")
	stop()
	d.Answer = time.Second
	_, err = d.Identify(t.Context(), r)
	wants(t, err, "backups.unreachable")
}

// serve starts a server and waits until it listens.
func serve(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	all := []string{"serve", "restic", "--config", os.DevNull, "--cache-objects=false", "--user", "coop", "--pass", "secret"}
	server := exec.Command("rclone", append(all, args...)...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = server.Process.Kill() // it may be gone
		_ = server.Wait()         // it was killed
	}
	t.Cleanup(stop)
	for {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", args[1])
		if err == nil {
			c.Close()
			return stop
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended before")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
