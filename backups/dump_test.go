// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rochdale/backups"
)

func dump(script string) backups.Backup {
	return backups.Backup{Command: []string{"/bin/sh", "-c", script}, Filename: "main.sql", Tags: []string{"dump"}}
}

// TestDump saves what a program writes, without giving it restic's secrets.
func TestDump(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	r.EnvFile = filepath.Join(filepath.Dir(r.URL), "env")
	write(t, r.EnvFile, "AWS_SECRET_ACCESS_KEY=secret\n")
	saved := backup(t, d, r, dump("env; echo noise >&2"))
	target := filepath.Join(t.TempDir(), "out")
	if _, err := d.Restore(t.Context(), r, backups.Restore{Snapshot: saved.SnapshotID, Target: target, Include: []string{"/main.sql"}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(target, "main.sql"))
	if err != nil || saved.BytesProcessed != int64(len(got)) {
		t.Errorf("%d bytes, saved %+v, %v", len(got), saved, err)
	}
	if s := string(got); !strings.Contains(s, "LC_ALL=C.UTF-8") || strings.Contains(s, "secret") || strings.Contains(s, "RESTIC") {
		t.Errorf("the program's environment: %s", s)
	}
}

// TestDumpThatFails makes no snapshot that anybody could take for one.
func TestDumpThatFails(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	missing := dump("")
	missing.Command = []string{"/no/such/program"}
	for name, c := range map[string]struct {
		b          backups.Backup
		id, detail string
	}{
		"fails":             {dump("echo half; echo 'connection refused' >&2; exit 3"), "backups.dump-failed", "connection refused"},
		"is killed":         {dump("echo half; kill -9 $$"), "backups.dump-failed", "killed"},
		"is not there":      {missing, "backups.dump-failed", ""},
		"gives nothing":     {dump("exit 0"), "backups.dump-empty", ""},
		"fails and nothing": {dump("exit 1"), "backups.dump-failed", "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			saved, err := d.Backup(t.Context(), r, c.b)
			p := wants(t, err, c.id)
			if p.Args["program"] != c.b.Command[0] || !strings.Contains(p.Args["detail"], c.detail) || saved.SnapshotID != "" {
				t.Errorf("args %v, saved %+v", p.Args, saved)
			}
		})
	}
	if list, err := d.Snapshots(t.Context(), r, "dump"); err != nil || len(list) > 0 {
		t.Errorf("there is %v, %v", list, err)
	}
}
