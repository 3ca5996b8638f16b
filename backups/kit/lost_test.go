// SPDX-License-Identifier: AGPL-3.0-or-later

package kit_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rochdale/appliance/host"
	"rochdale/backups"
	"rochdale/backups/kit"
	"rochdale/backups/restictest"
	"rochdale/backups/shelf"
)

type disk struct{ host.Files }

func (d disk) Mkdir(path string, mode fs.FileMode) error {
	return d.MkdirAll(path, host.Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()})
}

// TestMachineLost is the whole story. A box backs up and issues a kit; the
// machine is lost, and the repository loses its keys on top; a stranger with two
// pages and the file gets everything back.
func TestMachineLost(t *testing.T) {
	door, r := restictest.Door(t), restictest.Repository(t, "nearby")
	printing, err := kit.NewPrinting(2, 3)
	if err != nil {
		t.Fatal(err)
	}
	shelfOf := func(p shelf.Place) shelf.Shelf {
		s, err := shelf.Open(p, shelf.Machine{Disk: disk{host.NewFiles()}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	file := issued(t, door, r, printing.Recipient, shelfOf)
	if err := os.RemoveAll(filepath.Join(r.URL, "keys")); err != nil {
		t.Fatal(err)
	}

	k := opened(t, file, printing.Papers[2], printing.Papers[0])
	lost := k.Repositories[0]
	if _, err := lost.Own.PutBack(t.Context(), shelfOf(lost.Place()), false); err != nil {
		t.Fatal(err)
	}
	again := restictest.Repository(t, lost.Name)
	again.URL = lost.URL
	if err := os.WriteFile(again.PasswordFile, []byte(lost.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := door.Identify(t.Context(), again); err != nil || id != lost.ID {
		t.Fatalf("repository %s is now %s, %v", lost.ID, id, err)
	}
	snapshots, err := door.Snapshots(t.Context(), again)
	if err != nil || len(snapshots) != 1 {
		t.Fatalf("%v, %v", snapshots, err)
	}
	target := t.TempDir()
	if _, err := door.Restore(t.Context(), again, backups.Restore{Snapshot: snapshots[0].ID, Target: target}); err != nil {
		t.Fatal(err)
	}
	if got := ledgers(t, target); len(got) != 1 || got[0] != "balance 0" {
		t.Errorf("restored %q", got)
	}
}

// ledgers gives what is in the files of this name.
func ledgers(t *testing.T, root string) (contents []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "ledger" {
			return err
		}
		data, err := os.ReadFile(path)
		contents = append(contents, string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// issued backs up, and puts a kit beside the repository; it gives what lies there.
func issued(t *testing.T, door *backups.Door, r backups.Repository, recipient string, shelfOf func(shelf.Place) shelf.Shelf) []byte {
	t.Helper()
	id, err := door.Init(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "ledger"), []byte("balance 0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := door.Backup(t.Context(), r, backups.Backup{Paths: []string{source}}); err != nil {
		t.Fatal(err)
	}
	s := shelfOf(shelf.Place{URL: r.URL})
	own, err := shelf.ReadRepository(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(r.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	k := kit.Kit{
		Box: kit.Box{Name: "Box"}, Serial: 1, Issued: time.Now().UTC(), Epoch: 1,
		Repositories: []kit.Repository{{Name: r.Name, ID: id, URL: r.URL, Password: string(password), Own: own}},
	}
	file, err := kit.Seal(k, recipient)
	if err != nil {
		t.Fatal(err)
	}
	if err := kit.Publish(t.Context(), s, file, kit.LabelOf(k, recipient, file)); err != nil {
		t.Fatal(err)
	}
	if report, err := door.Check(t.Context(), r, backups.Part{}); err != nil {
		t.Errorf("a kit in its folder disturbs restic: %+v, %v", report, err)
	}
	fetched, err := s.Get(t.Context(), kit.Name)
	if err != nil {
		t.Fatal(err)
	}
	return fetched
}

// opened types pages as they are printed.
func opened(t *testing.T, file []byte, papers ...kit.Paper) kit.Kit {
	t.Helper()
	var hand kit.Hand
	for _, paper := range papers {
		lines, err := paper.Page.Lines()
		if err != nil {
			t.Fatal(err)
		}
		typed, err := kit.ReadPage(strings.ToLower(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if err := hand.Add(typed); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := hand.Secret()
	if err != nil {
		t.Fatal(err)
	}
	k, err := kit.Open(file, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
