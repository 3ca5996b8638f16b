// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/host/hosttest"
	"rochdale/backups"
	"rochdale/backups/kit"
	"rochdale/backups/shelf"
)

// cutKits are those of a box with this root; its repository is a disk of its own.
func cutKits(root string, files host.Files) (kits, backups.Repository) {
	k := kits{paths: appliance.Paths{Root: root}, files: files}
	k.shelves = shelves{shelf.Machine{Disk: shelfDisk{files}, Talker: sshTalker{host.Exec{}}}}
	return k, backups.Repository{Name: "disk", URL: filepath.Join(root, "mnt/disk")}
}

// repositoryFiles lays the own files of a repository out.
func repositoryFiles(t *testing.T, root string, fill byte) {
	t.Helper()
	key := []byte("{}")
	sum := sha256.Sum256(key)
	_, r := cutKits(root, host.NewFiles())
	lay(t, map[string]string{
		r.URL + "/config": string(bytes.Repeat([]byte{fill}, 40)), r.URL + "/keys/" + hex.EncodeToString(sum[:]): string(key),
	})
}

// TestKeptRepositoryFilesSurvivePowerCuts: without them a kit helps nobody whose
// repository was damaged.
func TestKeptRepositoryFilesSurvivePowerCuts(t *testing.T) {
	root := t.TempDir()
	for fill := byte(1); fill <= 2; fill++ {
		repositoryFiles(t, root, fill)
		hosttest.Value[shelf.RepositoryFiles]{
			Read: func(root string) (kept shelf.RepositoryFiles, err error) {
				k, _ := cutKits(root, host.NewFiles())
				data, err := os.ReadFile(filepath.Join(k.paths.KitFolder(), "disk.json"))
				if errors.Is(err, fs.ErrNotExist) {
					return kept, nil
				}
				return kept, errors.Join(err, json.Unmarshal(data, &kept), kept.Check())
			},
			Write: func(root string, files host.Files) error {
				k, r := cutKits(root, files)
				_, err := k.own(t.Context(), r)
				return err
			},
		}.OldOrNew(t, root)
	}
}

// TestShelfSurvivesPowerCuts: what lies beside a repository on a disk is of before
// or of now, the sign of its owner among it.
func TestShelfSurvivesPowerCuts(t *testing.T) {
	root := t.TempDir()
	repositoryFiles(t, root, 1)
	for _, content := range []string{"first", "second"} {
		hosttest.Value[string]{
			Read: func(root string) (string, error) {
				k, r := cutKits(root, host.NewFiles())
				data, err := k.shelves.Get(t.Context(), r, appliance.OwnerName)
				if errors.Is(err, fs.ErrNotExist) {
					err = nil
				}
				return string(data), err
			},
			Write: func(root string, files host.Files) error {
				k, r := cutKits(root, files)
				return k.shelves.Put(t.Context(), r, appliance.OwnerName, []byte(content))
			},
		}.OldOrNew(t, root)
	}
}

// TestPublishedKitSurvivesPowerCuts: kit and label are two files; where they do not
// fit each other the box knows that it has to publish again.
func TestPublishedKitSurvivesPowerCuts(t *testing.T) {
	root := t.TempDir()
	repositoryFiles(t, root, 1)
	made := func(serial int64) appliance.SealedKit {
		file := []byte(strings.Repeat("sealed ", int(serial)))
		label, err := json.Marshal(kit.LabelOf(kit.Kit{Serial: serial, Issued: time.Unix(0, 0), Epoch: 1}, "age1", file))
		if err != nil {
			t.Fatal(err)
		}
		return appliance.SealedKit{Serial: serial, File: file, Label: label}
	}
	publish := func(root string, files host.Files, serial int64) error {
		k, r := cutKits(root, files)
		return k.Publish(t.Context(), r, made(serial))
	}
	if err := publish(root, host.NewFiles(), 1); err != nil {
		t.Fatal(err)
	}
	hosttest.EveryCrash(t, root, func(files host.Files) error { return publish(root, files, 2) }, func(c hosttest.Crash, root string) {
		k, r := cutKits(root, host.NewFiles())
		file, err := k.shelves.Get(t.Context(), r, appliance.KitName)
		there, thereErr := k.Published(t.Context(), r, made(2))
		isNew := bytes.Equal(file, made(2).File)
		if err != nil || thereErr != nil || !isNew && !bytes.Equal(file, made(1).File) || there && !isNew || c.Whole && !there {
			t.Errorf("%q is there, published: %v, %v, %v", file, there, err, thereErr)
		}
		if err := publish(root, host.NewFiles(), 2); err != nil {
			t.Error(err)
		}
		if there, err := k.Published(t.Context(), r, made(2)); err != nil || !there {
			t.Errorf("published again: %v, %v", there, err)
		}
	})
}

// TestUnpackedProgramSurvivesPowerCuts: restic is there whole or not at all.
func TestUnpackedProgramSurvivesPowerCuts(t *testing.T) {
	at := func(root string) string { return filepath.Join(root, "restic") }
	hosttest.Value[string]{
		Read: func(root string) (string, error) {
			data, err := os.ReadFile(at(root))
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return string(data), err
		},
		Write: func(root string, files host.Files) error {
			return resticDisk{files}.Stream(at(root), strings.NewReader("a program"), 0o755)
		},
	}.OldOrNew(t, t.TempDir())
}
