// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/backups"
	"rochdale/backups/kit"
	"rochdale/backups/restictest"
	"rochdale/installer"
)

// sftpServer is OpenSSH's, spoken to without a network.
const sftpServer = "sftp.command=/usr/lib/openssh/sftp-server"

// TestRescueWithRestic goes from a real repository over SFTP through a real kit to a
// new machine that finds, fetches and owns what the old one left.
func TestRescueWithRestic(t *testing.T) {
	paths := appliance.Paths{Root: t.TempDir()}
	srv := filepath.Join(t.TempDir(), "srv")
	config := appliance.Config{
		Schema: 1, Language: "en", TLS: appliance.TLSConfig{Mode: "internal"}, Updates: appliance.UpdatesConfig{Reboot: "never"},
		Stacks:  map[string]appliance.StackConfig{"delivery": {Domain: "rides.example"}},
		Backups: appliance.BackupsConfig{Repositories: map[string]appliance.RepositoryConfig{"offsite": {URL: "sftp:somebody@somewhere:" + srv, Options: []string{sftpServer}}}},
	}
	document, err := config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(appliance.BackupManifest{Schema: 1, Kind: appliance.BackupDump, Made: time.Now(), Stacks: map[string]appliance.StackBackup{}})
	if err != nil {
		t.Fatal(err)
	}
	stage := paths.Stage(appliance.BackupDump)
	lay(t, map[string]string{
		paths.Config(): string(document), paths.RepositoryPassword("offsite"): "the password\n", paths.Edge() + "/caddy/certificates/x.crt": "a certificate",
		stage + "/manifest.json": string(manifest), stage + "/state.db": "a memory", stage + "/stacks/delivery/databases/main.db": "orders",
	})
	offsite := appliance.Repositories(paths, config)[1]
	door := restictest.Door(t)
	if _, err := door.Init(t.Context(), offsite); err != nil {
		t.Fatal(err)
	}
	saved, err := door.Backup(t.Context(), offsite, backups.Backup{Paths: []string{stage, paths.ConfigDir(), paths.Edge()}, Tags: []string{"kind:dump"}, Host: "box"})
	if err != nil {
		t.Fatal(err)
	}
	old, missed, err := appliance.TakeOver(t.Context(), paths, newShelves(), []backups.Repository{offsite}, 0)
	if err != nil || len(missed) > 0 || old.Epoch != 1 {
		t.Fatal(old, missed, err)
	}
	legacy := throughAKit(t, paths, offsite, string(document))

	fresh := appliance.Paths{Root: paths.Root} // the same place in the tree, as on real machines
	if err := errors.Join(os.RemoveAll(paths.Var()), os.RemoveAll(paths.ConfigDir())); err != nil {
		t.Fatal(err)
	}
	lay(t, map[string]string{fresh.RepositoryPassword("offsite"): string(legacy.Files["/etc/rochdale/backups/offsite.password"]), fresh.Var() + "/x": ""})
	rescue := appliance.NewRescue(fresh, door, appliance.Repositories(fresh, config))
	p, err := rescue.Find(t.Context())
	if err != nil || p.Repository != "offsite" || p.Snapshot != saved.SnapshotID {
		t.Fatalf("%+v, %v", p, err)
	}
	// A stack without secrets has no folder of them in the snapshot.
	if _, err := door.Restore(t.Context(), offsite, backups.Restore{Snapshot: p.Snapshot, Target: t.TempDir(), Include: []string{paths.Secrets("delivery")}}); err != nil {
		t.Error(err)
	}
	into := filepath.Join(fresh.Rescue(), "box")
	if err := rescue.Fetch(t.Context(), p, into); err != nil {
		t.Fatal(err)
	}
	m, memory, err := appliance.Rescued(fresh, into)
	if err != nil || m.Kind != appliance.BackupDump {
		t.Fatal(m, err)
	}
	for path, want := range map[string]string{memory: "a memory", filepath.Join(into, paths.Edge()) + "/caddy/certificates/x.crt": "a certificate", filepath.Join(into, paths.Config()): string(document)} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if found, err := filepath.Glob(filepath.Join(into, stage, "stacks", "*")); err != nil || len(found) > 0 {
		t.Errorf("data of stacks were fetched with the box: %v, %v", found, err)
	}
	if mine, missed, err := appliance.TakeOver(t.Context(), fresh, newShelves(), []backups.Repository{offsite}, legacy.Epoch); err != nil || len(missed) > 0 || mine.Epoch != 2 || mine.Box == old.Box {
		t.Errorf("%+v, %v, %v", mine, missed, err)
	}
}

// throughAKit seals a kit for one page, publishes it, and opens what lies beside the
// repository.
func throughAKit(t *testing.T, paths appliance.Paths, r backups.Repository, document string) installer.Legacy {
	t.Helper()
	k := kits{paths: paths, shelves: newShelves(), files: host.NewFiles(), restic: "0.19.1"}
	p, err := kit.NewPrinting(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	order := appliance.KitOrder{
		Recipient: p.Recipient, Serial: 1, Issued: time.Now(), Epoch: 1, Name: "Rides", Configuration: document,
		Repositories: []backups.Repository{r}, IDs: map[string]string{"offsite": "abc"},
	}
	made, err := k.Make(t.Context(), order, "")
	if err != nil || len(made.Without) > 0 {
		t.Fatal(made.Without, err)
	}
	if err := k.Publish(t.Context(), r, made); err != nil {
		t.Fatal(err)
	}
	if there, err := k.Published(t.Context(), r, made); err != nil || !there {
		t.Error("it is not where it was put", err)
	}
	if again, err := k.Make(t.Context(), order, made.Fingerprint); err != nil || again.File != nil {
		t.Error("the same kit is made twice", err)
	}
	// What was read once is there when the place can not be reached.
	gone := r
	gone.Options = []string{"sftp.command=/bin/false"}
	order.Repositories = []backups.Repository{gone}
	if offline, err := k.Make(t.Context(), order, ""); err != nil || len(offline.Without) > 0 {
		t.Error(offline.Without, err)
	}
	gone.Name = "never-reached"
	order.Repositories = []backups.Repository{r, gone}
	if partly, err := k.Make(t.Context(), order, ""); err != nil || !slices.Equal(partly.Without, []string{"never-reached"}) {
		t.Error(partly.Without, err)
	}
	one, err := newShelves().Get(t.Context(), r, kit.Name)
	if err != nil {
		t.Fatal(err)
	}
	var hand kit.Hand
	if err := hand.Add(p.Papers[0].Page); err != nil {
		t.Fatal(err)
	}
	secret, err := hand.Secret()
	if err != nil {
		t.Fatal(err)
	}
	content, err := kit.Open(one, secret)
	if err != nil || content.Repositories[0].ID != "abc" || len(content.Repositories[0].Own.Keys) != 1 {
		t.Fatalf("%+v, %v", content, err)
	}
	// A program that stands for the server is nothing for a kit: it is written by hand.
	if !slices.Equal(made.ByHand, []string{"offsite: sftp.command"}) || len(content.Repositories[0].Options) > 0 {
		t.Errorf("by hand: %q, options in the kit: %q", made.ByHand, content.Repositories[0].Options)
	}
	if _, err := (&kitBounds{here: nothingHere}).legacyOf(content, p.Recipient); !appliance.IsProblem(err, "cli.recover.kit-runs") {
		t.Errorf("the kit's configuration runs a program: %v", err)
	}
	b := &kitBounds{here: func(path string) bool { return path == appliance.SSHConfig }}
	legacy, err := b.legacyOf(content, p.Recipient)
	if err != nil || strings.Contains(legacy.Configuration, "sftp.command") || len(b.left) != 1 {
		t.Fatalf("%v, left out %v, %s", err, b.left, legacy.Configuration)
	}
	return legacy
}

func lay(t *testing.T, files map[string]string) {
	t.Helper()
	for path, content := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
