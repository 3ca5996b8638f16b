// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"rochdale/backups"
	"rochdale/backups/restictest"
	"rochdale/backups/shelf"
)

// TestHealRestic loses the keys and the config of a real repository and brings
// them back, over each kind of way that restic itself takes.
func TestHealRestic(t *testing.T) {
	door := restictest.Door(t)
	for name, way := range map[string]func(*testing.T, backups.Repository) backups.Repository{
		"local": func(_ *testing.T, r backups.Repository) backups.Repository { return r },
		"sftp": func(_ *testing.T, r backups.Repository) backups.Repository {
			r.URL, r.Options = "sftp:host:"+r.URL, []string{"sftp.command=" + sftpServer}
			return r
		},
		"rest": overRest,
	} {
		t.Run(name, func(t *testing.T) {
			here := restictest.Repository(t, "first")
			if err := os.Mkdir(here.URL, 0o700); err != nil {
				t.Fatal(err)
			}
			there := way(t, here)
			heal(t, door, here, there)
		})
	}
}

func overRest(t *testing.T, r backups.Repository) backups.Repository {
	address := freeAddress(t)
	start(t, "rclone", "serve", "restic", "--config", "/dev/null", "--cache-objects=false", "--addr", address, filepath.Dir(r.URL))
	waitFor(t, address)
	r.URL = "rest:http://" + address + "/" + filepath.Base(r.URL) + "/"
	return r
}

// heal breaks the repository in the folder of here and heals it by way of there.
func heal(t *testing.T, door *backups.Door, here, there backups.Repository) {
	t.Helper()
	id, err := door.Init(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, shelf.Place{URL: there.URL, Options: there.Options})
	files, err := shelf.ReadRepository(t.Context(), s)
	if err != nil || len(files.Keys) != 1 {
		t.Fatalf("%d keys, %v", len(files.Keys), err)
	}
	if err := s.Put(t.Context(), "rochdale-kit.age", []byte("kit")); err != nil && idOf(err) != "kit.shelf-none" {
		t.Fatal(err)
	}
	err = errors.Join(os.RemoveAll(filepath.Join(here.URL, "keys")), os.Chmod(filepath.Join(here.URL, "config"), 0o600),
		os.Truncate(filepath.Join(here.URL, "config"), 10))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := door.Identify(t.Context(), there); err == nil {
		t.Fatal("restic opens what was broken")
	}
	done, err := files.PutBack(t.Context(), s, false)
	if err != nil || len(done) != 2 || !slices.Contains(done, "config") {
		t.Fatalf("put back %v, %v", done, err)
	}
	if again, err := door.Identify(t.Context(), there); err != nil || again != id {
		t.Errorf("repository %s is now %s, %v", id, again, err)
	}
	if report, err := door.Check(t.Context(), there, backups.Part{}); err != nil {
		t.Errorf("%+v, %v", report, err)
	}
}
