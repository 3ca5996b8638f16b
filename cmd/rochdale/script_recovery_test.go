// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/host"
	"rochdale/appliance/state"
	"rochdale/appliance/step"
	"rochdale/backups/kit"
)

// exampleRecovery is a real daemon's side of the recovery kit, with a repository
// of which only the own files are there.
func exampleRecovery(ts *testscript.TestScript) api.KitDaemon {
	d, err := recoveryDaemon(appliance.Paths{Root: ts.Getenv("ROCHDALE_ROOT")})
	ts.Check(err)
	return d
}

func (exampleDaemon) TakeBack(context.Context, func(step.Event)) (appliance.Taken, error) {
	return appliance.Taken{Schema: 1, Epoch: 3, Missed: []string{}}, nil
}

func recoveryDaemon(paths appliance.Paths) (*appliance.Daemon, error) {
	key := []byte(`{"kdf":"scrypt"}`)
	sum := sha256.Sum256(key)
	for name, data := range map[string][]byte{
		filepath.Join(paths.BoxRepository(), "config"):                           bytes.Repeat([]byte{7}, 100),
		filepath.Join(paths.BoxRepository(), "keys", hex.EncodeToString(sum[:])): key,
		paths.RepositoryPassword(appliance.BoxRepository):                        []byte("the password\n"),
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return nil, err
		}
	}
	k := kits{paths: paths, shelves: newShelves(), files: host.NewFiles(), restic: "0.19.1"}
	return appliance.New(appliance.Parts{Paths: paths, Kits: k, Shelf: k.shelves}), nil
}

// TestPagesOpenTheKit walks from the printer to the opened kit: two of three pages
// do, and nothing that the machine keeps.
func TestPagesOpenTheKit(t *testing.T) {
	paths := appliance.Paths{Root: t.TempDir()}
	for _, dir := range []string{paths.ConfigDir(), paths.Var(), paths.Run()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const config = "schema: 1\ntls: {mode: internal}\nstacks: {delivery: {domain: rides.example, name: Rides}}\nupdates: {reboot: never}\n"
	if err := os.WriteFile(paths.Config(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := state.Open(t.Context(), paths.State())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.CloseFile(); err != nil {
		t.Fatal(err)
	}
	d, err := recoveryDaemon(paths)
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen(t.Context(), paths.DaemonSocket())
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = api.Serve(t.Context(), l, exampleDaemon{d}, slog.New(slog.DiscardHandler)) }()
	rochdale := func(in string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		s := streams{In: strings.NewReader(in), Out: &out, Err: &errs}
		env := func(name string) string { return map[string]string{"ROCHDALE_ROOT": paths.Root}[name] }
		if code := run(t.Context(), args, s, env); code != 0 {
			t.Fatalf("%v: code %d\n%s%s", args, code, &out, &errs)
		}
		return out.String()
	}
	folder, copied := filepath.Join(paths.Root, "pages"), filepath.Join(paths.Root, "copy.age")
	var answer printedAnswer
	if err := json.Unmarshal([]byte(rochdale("", "recovery", "print", "--pages", "3", "--needed", "2", "--output", folder, "--json")), &answer); err != nil || len(answer.Files) != 6 || answer.Serial != 1 {
		t.Fatalf("%+v, %v", answer, err)
	}
	rochdale("", "recovery", "kit", "--output", copied)
	beside, err := os.ReadFile(filepath.Join(paths.BoxRepository(), kit.Name))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := os.ReadFile(copied)
	if err != nil || !bytes.Equal(taken, beside) {
		t.Errorf("the copy is another kit: %v", err)
	}
	pages := readPrinted(t, answer.Files)
	var hand kit.Hand
	for _, n := range []int{3, 1} {
		page, err := kit.ReadPage(pages[n])
		if err != nil {
			t.Fatal(err)
		}
		if err := hand.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	secret, err := hand.Secret()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := kit.Open(beside, secret)
	if err != nil || opened.Box.Name != "Rides" || opened.Configuration != config || opened.Repositories[0].Password != "the password" || opened.Epoch != 1 {
		t.Errorf("%+v, %v", opened, err)
	}
	text, err := os.ReadFile(answer.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(` 1: ([0-9A-Z]{4}-[0-9A-Z]{4})`).FindStringSubmatch(string(text))
	if got := rochdale(code[1]+"\n", "recovery", "check", "1"); !strings.Contains(got, "Page 1 is there") {
		t.Error(got)
	}
	nothingSecret(t, paths.Root, pages, []string{folder, paths.RepositoryPassword(appliance.BoxRepository)})
}

// readPrinted gives the typed form of each page.
func readPrinted(t *testing.T, files []string) map[int]string {
	t.Helper()
	pages := map[int]string{}
	for i, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatal(info, err)
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(f, ".txt") {
			continue
		}
		var lines []string
		for _, m := range regexp.MustCompile(`(?m)^    \d\.  ([0-9A-Z -]+)$`).FindAllStringSubmatch(string(data), -1) {
			lines = append(lines, m[1])
		}
		pages[i/2+1] = strings.Join(lines, "\n")
	}
	return pages
}

// nothingSecret looks into every file of the machine for a line of a page.
func nothingSecret(t *testing.T, root string, pages map[int]string, but []string) {
	t.Helper()
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		for _, b := range but {
			if strings.HasPrefix(path, b) {
				return nil
			}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, page := range pages {
			for line := range strings.Lines(page) {
				if bytes.Contains(data, []byte(strings.TrimSpace(line))) {
					t.Errorf("%s holds a line of page %d", path, n)
				}
			}
		}
		if bytes.Contains(data, []byte("the password")) {
			t.Errorf("%s holds a password", path)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLoginFiles(t *testing.T) {
	for options, want := range map[string]string{
		"": "/root/.ssh/id_ed25519 /root/.ssh/id_ecdsa /root/.ssh/id_rsa /root/.ssh/known_hosts /root/.ssh/config",
		"sftp.args=-i /etc/rochdale/key -o UserKnownHostsFile=/etc/hosts": "/etc/rochdale/key /etc/hosts /root/.ssh/config",
		"sftp.args=-F '/etc/ssh/rides' -i relative":                       "/root/.ssh/known_hosts /etc/ssh/rides",
		"sftp.connections=3": "/root/.ssh/id_ed25519 /root/.ssh/id_ecdsa /root/.ssh/id_rsa /root/.ssh/known_hosts /root/.ssh/config",
	} {
		if got := strings.Join(loginFiles([]string{options}), " "); got != want {
			t.Errorf("%q: %s", options, got)
		}
	}
}

func TestVariables(t *testing.T) {
	got := variables([]byte("# a comment\n\nA=1\n B = \"two words\" \n;C=3\nD='x=y'\nE\n"))
	if len(got) != 3 || got["A"] != "1" || got["B"] != "two words" || got["D"] != "x=y" {
		t.Errorf("%q", got)
	}
}
