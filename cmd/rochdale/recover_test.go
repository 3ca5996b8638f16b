// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rochdale/appliance"
	"rochdale/backups/kit"
	"rochdale/backups/shelf"
	"rochdale/installer"
)

const recoverConfig = `schema: 1
tls: {mode: internal}
stacks: {delivery: {domain: rides.example}}
updates: {reboot: never}
backups: {repositories: {offsite: {url: "sftp:rides@backup.example:/srv/rides"}}}
`

// printedKit gives a sealed kit, and the pages that open it as text files.
func printedKit(t *testing.T) (file string, pages []string) {
	t.Helper()
	p, err := kit.NewPrinting(2, 3)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("{}")
	sum := sha256.Sum256(key)
	own := shelf.RepositoryFiles{Config: bytes.Repeat([]byte{1}, 40), Keys: map[string][]byte{hex.EncodeToString(sum[:]): key}}
	sealed, err := kit.Seal(kit.Kit{
		Schema: kit.Schema, Box: kit.Box{Name: "Rides"}, Serial: 4, Issued: time.Now(), Epoch: 1, Configuration: recoverConfig,
		Repositories: []kit.Repository{
			{Name: "box", URL: "/var/lib/rochdale/backup/box", Password: "lost", Own: own},
			{Name: "offsite", URL: "sftp:rides@backup.example:/srv/rides", Password: "secret", Env: map[string]string{"AWS_REGION": "2", "AWS_ACCESS_KEY_ID": "1"},
				Files: map[string][]byte{"/root/.ssh/id_ed25519": []byte("key")}, Own: own},
		},
	}, p.Recipient)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file = filepath.Join(dir, "rochdale-kit.age")
	if err := os.WriteFile(file, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, paper := range p.Papers {
		text, err := kit.Frame{Box: kit.Box{Name: "Rides"}, Printed: time.Now()}.Text("es", paper)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, string(rune('1'+i)))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		pages = append(pages, name)
	}
	return file, pages
}

func TestLegacyOfAKit(t *testing.T) {
	file, pages := printedKit(t)
	a, _ := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	l, err := a.legacy(t.Context(), recoverOptions{kit: file, pages: pages[:2]})
	if err != nil || l.Serial != 4 || l.Epoch != 1 || l.Configuration != recoverConfig || !strings.HasPrefix(l.Recipient, "age1") {
		t.Fatalf("%+v, %v", l, err)
	}
	want := map[string]string{
		"/etc/rochdale/backups/offsite.password": "secret\n", "/etc/rochdale/backups/offsite.env": "AWS_ACCESS_KEY_ID=1\nAWS_REGION=2\n", "/root/.ssh/id_ed25519": "key",
		"/var/lib/rochdale/recovery/offsite.proven": appliance.PasswordPrint([]byte("secret")),
	}
	if len(l.Files) != len(want) {
		t.Errorf("%d files", len(l.Files))
	}
	for path, content := range want {
		if string(l.Files[path]) != content {
			t.Errorf("%s is %q", path, l.Files[path])
		}
	}
	photo := filepath.Join(t.TempDir(), "photo.jpg")
	lay(t, map[string]string{photo: "JFIF"})
	for name, o := range map[string]recoverOptions{
		"kit.not-a-kit":         {kit: photo}, // before anybody has to type a page
		"cli.recover.kit":       {},
		"cli.recover.kit-file":  {kit: filepath.Join(t.TempDir(), "none")},
		"cli.recover.pages":     {kit: file, pages: pages[1:2]},
		"cli.recover.page-file": {kit: file, pages: []string{"none"}},
		"kit.pages-twice":       {kit: file, pages: []string{pages[0], pages[0]}},
	} {
		if _, err := a.legacy(t.Context(), o); err == nil || a.describe(t.Context(), err).ID != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, _ := printedKit(t)
	if _, err := a.legacy(t.Context(), recoverOptions{kit: other, pages: pages[1:]}); err == nil || a.describe(t.Context(), err).ID != "kit.other-pages" {
		t.Error(err)
	}
}

// TestPagesInOneFile: all pages that a file has are read, and one with a slip is told with
// its file and its line.
func TestPagesInOneFile(t *testing.T) {
	file, pages := printedKit(t)
	a, _ := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	var both strings.Builder
	for _, name := range pages[1:] {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		both.Write(data)
	}
	whole, torn := filepath.Join(t.TempDir(), "both"), filepath.Join(t.TempDir(), "torn")
	first := strings.Split(printedPages(both.String())[1], "\n")
	wrong := "0" + first[3][1:]
	if first[3][0] == '0' {
		wrong = "1" + first[3][1:]
	}
	for name, text := range map[string]string{whole: both.String(), torn: strings.Replace(both.String(), first[3], wrong, 1)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Typed: without dashes, in small letters, with the numbers.
	typed := strings.ToLower(strings.ReplaceAll(both.String(), "-", ""))
	if got := printedPages(typed); len(got) != 2 || strings.Count(got[0], "\n") != linesOfPage-1 {
		t.Errorf("typed: %q", got)
	}
	if l, err := a.legacy(t.Context(), recoverOptions{kit: file, pages: []string{whole}}); err != nil || l.Serial != 4 {
		t.Errorf("%+v, %v", l, err)
	}
	_, err := a.legacy(t.Context(), recoverOptions{kit: file, pages: []string{torn}})
	told := a.describe(t.Context(), err)
	if !appliance.IsProblem(err, "cli.recover.page-slip") || len(told.Items) != 1 || !strings.Contains(fmt.Sprint(told.Items), "Line 4") || !strings.Contains(told.Title, torn) {
		t.Errorf("%+v", told)
	}
}

// TestInterruptedRecovery needs no page again, unless somebody comes with another kit.
func TestInterruptedRecovery(t *testing.T) {
	file, pages := printedKit(t)
	a, _ := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	first, err := a.legacy(t.Context(), recoverOptions{kit: file, pages: pages[1:]})
	if err != nil {
		t.Fatal(err)
	}
	first.Schema = 1
	kept, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	lay(t, map[string]string{a.paths.RescueKit(): string(kept)})
	for _, o := range []recoverOptions{{}, {kit: file}} {
		if again, err := a.legacy(t.Context(), o); err != nil || again.Recipient != first.Recipient {
			t.Errorf("%+v: %v", o, err)
		}
	}
	other, others := printedKit(t)
	if _, err := a.legacy(t.Context(), recoverOptions{kit: other}); !appliance.IsProblem(err, "cli.recover.pages") {
		t.Error("another kit is not opened:", err)
	}
	if l, err := a.legacy(t.Context(), recoverOptions{kit: other, pages: others[:2]}); err != nil || l.Kit == first.Kit {
		t.Errorf("%v", err)
	}
}

// TestBetterKitBringsItsCredentials: what an interrupted recovery with an older kit wrote
// is not taken for a person's own, unless somebody has changed it.
func TestBetterKitBringsItsCredentials(t *testing.T) {
	a, out := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	env := appliance.Paths{}.RepositoryEnv("offsite")
	older, err := json.Marshal(installer.Legacy{Schema: 1, Kit: "an older one", Files: map[string][]byte{env: []byte("AWS_REGION=old\n")}, Laid: []string{env}})
	if err != nil {
		t.Fatal(err)
	}
	better, pages := printedKit(t)
	for there, taken := range map[string]bool{"AWS_REGION=old\n": true, "AWS_REGION=own\n": false} {
		lay(t, map[string]string{a.paths.RescueKit(): string(older), a.paths.RepositoryEnv("offsite"): there})
		out.Reset()
		l, err := a.legacy(t.Context(), recoverOptions{kit: better, pages: pages[:2]})
		if err != nil || (l.Files[env] != nil) != taken || strings.Contains(out.String(), "Left out of the kit") == taken {
			t.Errorf("%q: %v, %q\n%s", there, err, l.Files[env], out)
		}
	}
}

// TestPagesAreTyped line by line: a slip is told and asked for again, and so is a page
// that does not belong.
func TestPagesAreTyped(t *testing.T) {
	_, strangers := printedKit(t)
	file, pages := printedKit(t)
	lines := func(name string) []string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(printedPages(string(data))[0], "\n")
	}
	var typed []string
	first := lines(pages[0])
	typed = append(typed, first[0], strings.Replace(first[1], first[1][:1], "?", 1))
	typed = append(typed, first[1:]...)
	typed = append(typed, lines(strangers[1])...)
	typed = append(typed, strings.ToLower(lines(pages[2])[0]))
	typed = append(typed, lines(pages[2])[1:]...)
	a, out := testApp(true, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	a.streams.In = &oneLine{lines: typed}
	l, err := a.legacy(t.Context(), recoverOptions{kit: file})
	if err != nil || l.Serial != 4 {
		t.Fatalf("%+v, %v\n%s", l, err, out)
	}
	if said := out.String(); strings.Count(said, "still needed: 1") != 2 || !strings.Contains(said, "How many pages are needed stands on it") {
		t.Errorf("counted:\n%s", said) // after the first page, and after the stranger's
	}
	if said := out.String(); !strings.Contains(said, "Line 2") || !strings.Contains(said, "another printing") {
		t.Errorf("said:\n%s", said)
	}
}

// oneLine gives a line at each read, as a terminal does.
type oneLine struct{ lines []string }

func (o *oneLine) Read(p []byte) (int, error) {
	if len(o.lines) == 0 {
		return 0, os.ErrClosed
	}
	n := copy(p, o.lines[0]+"\n")
	o.lines = o.lines[1:]
	return n, nil
}

func TestBareMachine(t *testing.T) {
	a, _ := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	if err := a.bare(); err != nil {
		t.Error(err)
	}
	if err := os.MkdirAll(a.paths.Stack("delivery"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.bare(); !appliance.IsProblem(err, "recover.not-bare") {
		t.Error(err)
	}
	if err := os.MkdirAll(a.paths.Rescue(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.paths.RescueKit(), []byte(`{"schema":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.bare(); err != nil {
		t.Error("an interrupted recovery does not go on:", err)
	}
}

// TestRecoveredBefore: the same command once more, after a recovery that ended unseen,
// says that it did. Another kit is refused as on every machine with data.
func TestRecoveredBefore(t *testing.T) {
	a, out := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	sealed, other := filepath.Join(a.paths.Root, "kit.age"), filepath.Join(a.paths.Root, "other.age")
	for path, data := range map[string]string{
		sealed: "the kit", other: "another kit",
		a.paths.Config():                              recoverConfig,
		installer.RecordPath(a.paths):                 fmt.Sprintf(`{"schema":1,"finished":"2026-11-25T10:00:00Z","recovered_from":"%x"}`, sha256.Sum256([]byte("the kit"))),
		filepath.Join(a.paths.Stack("delivery"), "x"): "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(data), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.recover(t.Context(), recoverOptions{kit: sealed}); err != nil || !strings.Contains(out.String(), "https://rides.example/") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, file := range []string{other, ""} {
		if err := a.recover(t.Context(), recoverOptions{kit: file}); !appliance.IsProblem(err, "recover.not-bare") {
			t.Errorf("with %q: %v", file, err)
		}
	}
	if err := errors.Join(os.MkdirAll(a.paths.Rescue(), 0o700), os.WriteFile(a.paths.RescueKit(), []byte(`{"schema":1}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if done, err := a.recovered(sealed); done || err != nil {
		t.Errorf("a recovery that has not ended: %v, %v", done, err)
	}
}

// TestWhatSuitsARecovery: the name points to the lost machine, as a rule, and at the end
// somebody is told to change that.
func TestWhatSuitsARecovery(t *testing.T) {
	a, _ := testApp(false, nil)
	f := func(id string) appliance.Finding {
		return appliance.Finding{Severity: appliance.Warning, Message: appliance.Message{ID: id, Args: appliance.Args("domain", "rides.example", "addresses", "192.0.2.7")}}
	}
	for _, id := range []string{"install.domain-nowhere", "install.domain-elsewhere", "install.domain-behind-router"} {
		found := suiting([]appliance.Finding{f("install.goes-on"), f(id), f("install.memory-tight")})
		var ids []string
		for _, one := range found {
			ids = append(ids, one.ID)
		}
		if got := strings.Join(ids, " "); got != "recover.takes-over recover.domain-later install.memory-tight" {
			t.Errorf("%s: %s", id, got)
		}
		steps := a.afterRecovery(found)
		if len(steps) != 2 || !strings.Contains(steps[0], "Point rides.example to this machine") || !strings.Contains(steps[1], "off") {
			t.Errorf("%q", steps)
		}
	}
	if steps := a.afterRecovery(suiting(nil)); len(steps) != 1 {
		t.Errorf("it points here: %q", steps)
	}
	a, out := testApp(false, nil)
	if err := a.installed(&installer.Result{URL: "https://rides.example/"}, "Point it here."); err != nil || !strings.Contains(out.String(), "Point it here.") || strings.Contains(out.String(), "Restored") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSaysWhatItRestored: how old the data are is for people to know, in the time that
// every list of snapshots has.
func TestSaysWhatItRestored(t *testing.T) {
	r := &installer.Result{URL: "https://rides.example/", Restored: &appliance.RescuePoint{
		Repository: "offsite", Snapshot: "abcd", Made: time.Date(2026, 11, 29, 9, 34, 0, 0, time.FixedZone("", 3600)),
	}}
	a, out := testApp(false, nil)
	if err := a.installed(r); err != nil || !strings.Contains(out.String(), "Restored: what offsite had on 2026-11-29 08:34 UTC\n") {
		t.Errorf("%v\n%s", err, out)
	}
	a, out = testApp(false, nil)
	a.printer.json = true
	if err := a.installed(r); err != nil || !strings.Contains(out.String(), `"restored":{"repository":"offsite","snapshot":"abcd","made":"2026-11-29`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestWithoutNamesARepository: a slip in a name would go on to look where somebody knows
// that nothing is.
func TestWithoutNamesARepository(t *testing.T) {
	a, _ := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	legacy := installer.Legacy{Configuration: recoverConfig}
	err := a.lookAndRecover(t.Context(), installer.Deps{}, legacy, recoverOptions{without: []string{"offsite", "ofsite"}})
	if p := a.describe(t.Context(), err); p.ID != "cli.recover.without" || p.Code != appliance.ExitUsage || !strings.Contains(p.Title, "ofsite") || !strings.Contains(p.Title+p.Fix, "box, offsite") {
		t.Errorf("%v: %+v", err, p)
	}
	config, err := legacy.Config()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.known(config, []string{"offsite", "box"}); err != nil {
		t.Error(err)
	}
}

// TestRecoverWithoutRights: what somebody may not read is not damaged, and nobody is told
// to move it away.
func TestRecoverWithoutRights(t *testing.T) {
	a, _ := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	lay(t, map[string]string{installer.RecordPath(a.paths): "{}", a.paths.RescueKit(): "{}"})
	if err := os.Chmod(a.paths.Root, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(a.paths.Root, 0o700) })
	if os.Geteuid() == 0 { // it may read what it likes, so this thread is somebody else for a moment
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	}
	for _, file := range []string{"", "kit.age"} {
		err := a.recover(t.Context(), recoverOptions{kit: file})
		if p := a.describe(t.Context(), err); p.ID != "cli.needs-root" || p.Code != appliance.ExitUsage {
			t.Errorf("with %q: %v", file, err)
		}
	}
}
