// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rochdale/backups/shelf"
)

func TestFolder(t *testing.T) {
	g := folderGround(t, "", shelf.Place{})
	t.Run("contract", func(t *testing.T) { contract(t, g) })
	t.Run("put back", func(t *testing.T) { putBackContract(t, folderGround(t, "", shelf.Place{})) })
}

// TestSFTPServer speaks to OpenSSH's server without the encryption around it.
func TestSFTPServer(t *testing.T) {
	place := shelf.Place{Options: []string{"sftp.command=" + sftpServer}}
	t.Run("contract", func(t *testing.T) { contract(t, folderGround(t, "sftp:somebody@somewhere:", place)) })
	t.Run("put back", func(t *testing.T) { putBackContract(t, folderGround(t, "sftp://somewhere/", place)) })
}

const sftpServer = "/usr/lib/openssh/sftp-server"

// TestSSH goes the whole way: ssh, keys, a daemon.
func TestSSH(t *testing.T) {
	d := sshd(t)
	args := shelf.Place{Options: []string{"sftp.args=" + d.args("user", "known")}}
	contract(t, folderGround(t, d.url, args))
	for name, c := range map[string]struct{ key, known, id string }{
		"a key that opens nothing": {"stranger", "known", "kit.shelf-denied"},
		"a server that is another": {"user", "others", "kit.shelf-unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			g := folderGround(t, d.url, shelf.Place{Options: []string{"sftp.args=" + d.args(c.key, c.known)}})
			_, err := open(t, g.place).List(t.Context(), "")
			if idOf(err) != c.id {
				t.Errorf("got %v, want %s", err, c.id)
			}
		})
	}
}

// TestRest speaks to a server of restic's protocol.
func TestRest(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"repository", "second"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	start(t, "rclone", "serve", "restic", "--config", "/dev/null", "--cache-objects=false", "--addr", address, "--user", "coop", "--pass", "pass word", dir)
	waitFor(t, address)
	place := func(name string) ground {
		p := shelf.Place{URL: "rest:http://coop:pass%20word@" + address + "/" + name + "/"}
		return ground{place: p, elsewhere: shelf.Place{URL: "rest:http://" + freeAddress(t) + "/"}, plant: plantIn(filepath.Join(dir, name))}
	}
	t.Run("contract", func(t *testing.T) { contract(t, place("repository")) })
	t.Run("put back", func(t *testing.T) { putBackContract(t, place("second")) })
	t.Run("password by environment", func(t *testing.T) {
		p := shelf.Place{URL: "rest:http://" + address + "/second", Env: map[string]string{"RESTIC_REST_USERNAME": "coop", "RESTIC_REST_PASSWORD": "pass word"}}
		if _, err := open(t, p).Get(t.Context(), "config"); err != nil {
			t.Error(err)
		}
		p.Env["RESTIC_REST_PASSWORD"] = "wrong"
		if _, err := open(t, p).Get(t.Context(), "config"); idOf(err) != "kit.shelf-denied" {
			t.Errorf("wrong password: %v", err)
		}
	})
}

// TestRestStays: a server that sends us elsewhere does not get the password
// sent there.
func TestRestStays(t *testing.T) {
	asked := false
	other := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	first := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })
	_, err := open(t, shelf.Place{URL: "rest:" + strings.Replace(first, "//", "//coop:secret@", 1)}).Get(t.Context(), "config")
	if idOf(err) != "kit.shelf-unreachable" || asked {
		t.Errorf("got %v, asked the other: %v", err, asked)
	}
	if strings.Contains(fmt.Sprint(err), "secret") {
		t.Errorf("the error shows the password: %v", err)
	}
}

// TestFolderIsWary wants nothing from pipes, links and folders in the way.
func TestFolderIsWary(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(secret, filepath.Join(dir, "link")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
		os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]shelf.Place{
		"folder": {URL: dir}, "sftp": {URL: "sftp:host:" + dir, Options: []string{"sftp.command=" + sftpServer}},
	} {
		s := open(t, p)
		for _, file := range []string{"pipe", "folder"} {
			if _, err := s.Get(t.Context(), file); err == nil || errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %s: %v", name, file, err)
			}
		}
		if got, err := s.List(t.Context(), ""); err != nil || strings.Join(got, " ") != "plain" {
			t.Errorf("%s: lists %v, %v", name, got, err)
		}
	}
	if got, err := open(t, shelf.Place{URL: dir}).Get(t.Context(), "link"); err == nil {
		t.Errorf("a link led out: %q", got)
	}
}

// TestWrittenForOneself: files beside a repository are for their owner.
func TestWrittenForOneself(t *testing.T) {
	for name, p := range map[string]shelf.Place{
		"folder": {URL: "local:"}, "sftp": {URL: "sftp:host:", Options: []string{"sftp.command=" + sftpServer}},
	} {
		dir := t.TempDir()
		p.URL += dir
		put(t, open(t, p), "keys/abc", []byte("x"))
		for path, want := range map[string]os.FileMode{"keys/abc": 0o600} {
			info, err := os.Stat(filepath.Join(dir, path))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %s: %v, %v", name, path, info.Mode(), err)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "keys")); err != nil || len(left) != 1 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

// TestSSHThatGoesWrong: whatever the program does, the call ends and says why.
func TestSSHThatGoesWrong(t *testing.T) {
	for name, c := range map[string]struct{ command, says string }{
		"is not there":    {"/no/such/program", "no such file"},
		"ends at once":    {"false", "exit code 1"},
		"says nonsense":   {"echo hello", ""},
		"never stops":     {"yes", ""},
		"never answers":   {"sleep 1000", "deadline"},
		"leaves its pipe": {"setsid --fork sleep 20", "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			s := open(t, shelf.Place{URL: "sftp:host:/x", Options: []string{"sftp.command=" + c.command}})
			_, err := s.Get(ctx, "config")
			if idOf(err) != "kit.shelf-unreachable" || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func folderGround(t *testing.T, prefix string, p shelf.Place) ground {
	dir := filepath.Join(t.TempDir(), "a folder with ' and *")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	here, there := p, p
	here.URL, there.URL = prefix+dir, prefix+dir+"-not"
	return ground{place: here, elsewhere: there, plant: plantIn(dir)}
}

func plantIn(dir string) func(*testing.T, string, []byte) {
	return func(t *testing.T, name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func keys(contents ...string) map[string][]byte {
	keys := map[string][]byte{}
	for _, c := range contents {
		s := sha256.Sum256([]byte(c))
		keys[hex.EncodeToString(s[:])] = []byte(c)
	}
	return keys
}

// daemon is an sshd of this test.
type daemon struct{ dir, url, port string }

func (d daemon) args(key, known string) string {
	return fmt.Sprintf("-F /dev/null -i %s -o IdentitiesOnly=yes -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes",
		filepath.Join(d.dir, key), filepath.Join(d.dir, known))
}

func sshd(t *testing.T) daemon {
	t.Helper()
	d := daemon{dir: t.TempDir()}
	for _, key := range []string{"host", "other", "user", "stranger"} {
		run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(d.dir, key))
	}
	address := freeAddress(t)
	_, d.port, _ = net.SplitHostPort(address)
	at := func(name string) string { return filepath.Join(d.dir, name) }
	read := func(name string) string {
		data, err := os.ReadFile(at(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	config := fmt.Sprintf("ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n",
		address, at("host"), at("user.pub"))
	// The daemon's empty folder; systemd makes it where it starts the daemon.
	err := errors.Join(os.MkdirAll("/run/sshd", 0o755),
		os.WriteFile(at("config"), []byte(config), 0o600),
		os.WriteFile(at("known"), []byte("[127.0.0.1]:"+d.port+" "+read("host.pub")), 0o600),
		os.WriteFile(at("others"), []byte("[127.0.0.1]:"+d.port+" "+read("other.pub")), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	start(t, "/usr/sbin/sshd", "-D", "-e", "-f", at("config"))
	waitFor(t, address)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	d.url = fmt.Sprintf("sftp://%s@%s/", me.Username, address)
	return d
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// start runs a server until the test ends.
func start(t *testing.T, argv ...string) {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = io.Discard, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", argv[0], said.String())
		}
	})
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

func waitFor(t *testing.T, address string) {
	t.Helper()
	for range 600 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", address)
}
