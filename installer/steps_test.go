// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// bench is an installation into a folder, with a program to install.
func bench(t *testing.T) (*install, Deps) {
	t.Helper()
	root := t.TempDir()
	program := filepath.Join(t.TempDir(), "download")
	if err := os.WriteFile(program, []byte(strings.Repeat("binary ", 1000)), 0o700); err != nil {
		t.Fatal(err)
	}
	o, f := asked(), good()
	o.Program = program
	var err error
	if f.Program.Digest, f.Program.Size, err = digestOf(program); err != nil {
		t.Fatal(err)
	}
	d := Deps{Paths: appliance.Paths{Root: root}, Files: host.NewFiles(), Runner: asksOnly{}}
	if err := Prepare(d); err != nil {
		t.Fatal(err)
	}
	return &install{Deps: d, o: o, f: f, result: &Result{}}, d
}

func run(t *testing.T, s step.Step) {
	t.Helper()
	if err := s.Do(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	if s.Done == nil {
		return
	}
	if done, err := s.Done(t.Context()); err != nil || !done {
		t.Fatalf("after it ran, %s says done=%v, %v", s.ID, done, err)
	}
}

func TestProgramStep(t *testing.T) {
	i, d := bench(t)
	s, _ := i.program()
	if done, err := s.Done(t.Context()); err != nil || done {
		t.Fatalf("on a bare machine it is done=%v, %v", done, err)
	}
	run(t, s)
	link := filepath.Join(d.Paths.Root, "usr/local/bin/rochdale")
	data, err := os.ReadFile(link)
	if err != nil || len(data) != 7000 {
		t.Fatalf("through the links: %d bytes, %v", len(data), err)
	}
	if err := os.WriteFile(filepath.Join(d.Paths.Programs(), "versions", i.programName(), "rochdale"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if done, _ := s.Done(t.Context()); done {
		t.Fatal("a damaged copy counts as done")
	}
	run(t, s)
}

func TestRecordKeepsWhatWasBefore(t *testing.T) {
	i, d := bench(t)
	config := `{"dns": ["9.9.9.9"]}`
	i.f.Packages = packages("ii ", "apt", "vim")
	i.f.Held, i.f.Docker.Config = []string{"vim"}, []byte(config)
	s, _ := i.state()
	run(t, s)
	// The second run sees a machine that the first has changed.
	i.f.Packages, i.f.Held = packages("ii ", "apt", "vim", "docker.io"), []string{"vim", "docker.io"}
	i.f.Docker = Docker{Package: "docker.io", Config: []byte("changed")}
	i.o.Version = "1.3.0"
	run(t, s)
	r, err := ReadRecord(d.Paths)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Before, []string{"apt", "vim"}) || !slices.Equal(r.HeldBefore, []string{"vim"}) ||
		r.DockerConfig == nil || *r.DockerConfig != config || r.EngineThere || r.Version != "1.3.0" {
		t.Errorf("the record is %+v", r)
	}
	// After an uninstall that kept the data the machine is what it is then.
	if err := amend(d.Paths, d.Files, func(r *Record) { r.Removed = now() }); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if r, err = ReadRecord(d.Paths); err != nil || !slices.Contains(r.Before, "docker.io") || !r.Removed.IsZero() {
		t.Errorf("after an uninstall: %+v, %v", r, err)
	}
}

func TestConfigKeepsWhatAnOperatorWrote(t *testing.T) {
	earlier, err := appliance.ParseConfig(strings.NewReader(`schema: 1
language: fr
email: old@example.org
tls: {mode: internal}
stacks:
  delivery: {domain: old.example, aliases: [www.old.example]}
  votes: {domain: votes.example}
updates: {reboot: never}
`))
	if err != nil {
		t.Fatal(err)
	}
	o := asked()
	c := o.Config(earlier, "/etc/rochdale/acme-root.pem")
	if c.Stacks["votes"].Domain != "votes.example" || len(c.Stacks["delivery"].Aliases) != 1 {
		t.Errorf("lost: %+v", c.Stacks)
	}
	if c.Stacks["delivery"].Domain != "rides.example" || c.Email != "ada@rides.example" || c.TLS.Mode != "acme" || c.Updates.Reboot != "03:30" {
		t.Errorf("not taken over: %+v", c)
	}
	if earlier.Stacks["delivery"].Domain != "old.example" {
		t.Error("the earlier document was changed")
	}
}

func TestRememberFillsInWhatWasNotTyped(t *testing.T) {
	i, d := bench(t)
	s, _ := i.state()
	run(t, s)
	if err := d.put(wanted{d.Paths.Config(), []byte("schema: 1\nlanguage: es\nemail: eva@rides.example\ntls: {mode: internal}\nstacks: {delivery: {domain: new.example}}\nupdates: {reboot: \"05:00\"}\n"), host.Attr{Mode: privateFile}}); err != nil {
		t.Fatal(err)
	}
	if err := amend(d.Paths, d.Files, func(r *Record) { r.Finished = now() }); err != nil {
		t.Fatal(err)
	}
	o := Options{TLS: "acme", Reboot: "03:30", Email: "typed@rides.example"}
	o.Remember(d, func(flag string) bool { return flag == "email" })
	want := Options{Stack: "delivery", Domain: "new.example", Email: "typed@rides.example", TLS: "internal", Language: "es", Reboot: "05:00"}
	if o.Stack != want.Stack || o.Domain != want.Domain || o.Email != want.Email || o.TLS != want.TLS || o.Language != want.Language || o.Reboot != want.Reboot {
		t.Errorf("got %+v", o)
	}
}

// TestRememberBundle: a stack that came with a bundle is known to the next run, and
// comes from there again. Another stack does not.
func TestRememberBundle(t *testing.T) {
	i, d := bench(t)
	i.o.Stack, i.o.Bundle = "taxi", "/root/taxi.bundle"
	s, _ := i.state()
	run(t, s)
	nothing := func(string) bool { return false }
	o := Options{TLS: "acme", Stacks: []string{"delivery"}}
	o.Remember(d, nothing)
	if o.Stack != "taxi" || o.Bundle != "/root/taxi.bundle" || !slices.Contains(o.Stacks, "taxi") {
		t.Errorf("got %+v", o)
	}
	o = Options{TLS: "acme", Stack: "delivery", Stacks: []string{"delivery"}}
	o.Remember(d, func(flag string) bool { return flag == "stack" })
	if o.Bundle != "" || slices.Contains(o.Stacks, "taxi") {
		t.Errorf("for another stack: %+v", o)
	}
}

// TestRememberAfterAnEarlyKill: what was typed first counts, although nothing
// of it is written yet where an operator would look.
func TestRememberAfterAnEarlyKill(t *testing.T) {
	i, d := bench(t)
	i.o.TLS, i.o.Domain, i.o.ACMECA, i.o.ACMERoot, i.o.Language = "acme", "first.example", "https://ca.example/dir", "/root/ca.pem", "fr"
	i.config = i.o.Config(appliance.Config{}, i.rootPath())
	s, _ := i.state()
	run(t, s)
	o := Options{TLS: "acme", Reboot: "never", Stacks: []string{"delivery"}}
	o.Remember(d, func(flag string) bool { return flag == "reboot" })
	if o.Domain != "first.example" || o.ACMECA != "https://ca.example/dir" || o.ACMERoot != "/root/ca.pem" || o.Language != "fr" || o.Reboot != "never" {
		t.Errorf("got %+v", o)
	}
}

func TestPlanIsWhatAPersonReads(t *testing.T) {
	i, d := bench(t)
	i.f.Downloads, i.f.ListsThere = []host.Download{{File: "a.deb", Bytes: 75 * mib}}, true
	plan, result, err := Plan(i.o, i.f, d)
	if err != nil || plan.Validate() != nil {
		t.Fatal(err, plan.Validate())
	}
	var ids []string
	for _, s := range plan.Steps {
		ids = append(ids, s.ID)
	}
	want := "state program engine-config packages engine users folders clock configuration firewall updates units edge daemon stack certificate finish"
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("the steps are %s", got)
	}
	if result.URL != "https://rides.example/" {
		t.Errorf("the address is %s", result.URL)
	}
	packages := plan.Steps[3].Effects
	if last := packages[len(packages)-1]; last.Kind != "downloads" || last.Bytes != 75*mib {
		t.Errorf("the download is %+v", last)
	}
}

func TestPlanDependsOnTheMachine(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Facts)
		step   string
		want   bool
	}{
		{"2 GB need no swap", func(f *Facts) {}, "swap", false},
		{"1 GB gets swap", func(f *Facts) { f.Memory = gib }, "swap", true},
		{"not in a container", func(f *Facts) { f.Memory, f.Container = gib, true }, "swap", false},
		{"not beside other swap", func(f *Facts) { f.Memory, f.Swap = gib, gib }, "swap", false},
		{"the little swap of Raspberry Pi OS is not enough", func(f *Facts) { f.Memory, f.Swap = gib, 100*mib }, "swap", true},
		{"not on btrfs", func(f *Facts) { f.Memory, f.VarKind = gib, "btrfs" }, "swap", false},
		{"not on a small disk", func(f *Facts) { f.Memory, f.VarFree = gib, 2*gib }, "swap", false},
		{"ours stays in the plan", func(f *Facts) { f.Memory, f.Swap, f.Installed.Record = gib, gib, &Record{Swap: true} }, "swap", true},
		{"a repair where dpkg was interrupted", func(f *Facts) { f.HalfDone = []string{"vim"} }, "repair", true},
		{"another clock keeper is left alone", func(f *Facts) { f.TimeDaemon = "chrony" }, "clock", false},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			i, d := bench(t)
			i.f.TimeDaemon = ""
			test.change(&i.f)
			plan, _, err := Plan(i.o, i.f, d)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.ContainsFunc(plan.Steps, func(s step.Step) bool { return s.ID == test.step })
			if got != test.want {
				t.Errorf("%s in the plan: %v", test.step, got)
			}
		})
	}
}

// TestResultNamesTheRoot: who sees a warning of the browser needs to know where
// the certificate is that ends it.
func TestResultNamesTheRoot(t *testing.T) {
	for mode, want := range map[string]string{"acme": "", "internal": "http://rides.example/rochdale-root.crt"} {
		i, d := bench(t)
		i.o.TLS, i.o.Domain = mode, "rides.example"
		_, result, err := Plan(i.o, i.f, d)
		if err != nil || result.RootURL != want || result.URL != "https://rides.example/" {
			t.Errorf("%s: %+v %v", mode, result, err)
		}
	}
}

func TestPackagesFor(t *testing.T) {
	all := []string{"apparmor", "ca-certificates", "docker.io", "nftables", "systemd-timesyncd", "unattended-upgrades"}
	without := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == name })
	}
	cases := []struct {
		name  string
		facts Facts
		want  []string
	}{
		{"a bare machine", Facts{}, all},
		{"Ubuntu takes docker.io too", Facts{System: System{ID: "ubuntu"}}, all},
		{"Docker's own packages are left alone", Facts{Docker: Docker{Package: "docker-ce"}}, without("docker.io")},
		{"chrony is left alone", Facts{TimeDaemon: "chrony"}, without("systemd-timesyncd")},
	}
	for _, test := range cases {
		if got := packagesFor(test.facts); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestAptProblems(t *testing.T) {
	cases := map[string]string{
		"E: Failed to fetch http://deb/x  Could not connect":               "install.network-lost",
		"E: You don't have enough free space in /var/cache/apt/archives/.": "install.disk-filled",
		"dpkg: error: cannot write: No space left on device":               "install.disk-filled",
		"E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by": "install.apt-locked",
		"E: Sub-process /usr/bin/dpkg returned an error code (1)":          "install.packages-failed",
	}
	for log, want := range cases {
		err := aptProblem("install.packages-failed", &host.AptError{Args: []string{"apt-get"}, Log: log, Err: errors.New("exit code 100")})
		if !appliance.IsProblem(err, want) {
			t.Errorf("%q became %v, want %s", log, err, want)
		}
	}
	if err := aptProblem("install.packages-failed", context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("an interruption became %v", err)
	}
}

func TestLock(t *testing.T) {
	_, d := bench(t)
	if err := os.MkdirAll(d.at("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := TakeLock(d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = TakeLock(d)
	if !appliance.IsProblem(err, "install.locked") || appliance.ExitCode(err) != appliance.ExitLocked {
		t.Fatalf("the second got %v", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := TakeLock(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestRemovalJournal(t *testing.T) {
	_, d := bench(t)
	j := NewRemovalJournal(d)
	fails := step.Plan{Name: "uninstall", Steps: []step.Step{{ID: "one", Do: func(context.Context, step.Report) error { return errors.New("no") }}}}
	if err := fails.Run(t.Context(), j, nil); err == nil {
		t.Fatal("the plan did not fail")
	}
	ctx, cancel := context.WithCancel(t.Context())
	stops := step.Plan{Name: "uninstall", Steps: []step.Step{{ID: "one", Do: func(context.Context, step.Report) error { cancel(); return ctx.Err() }}}}
	if err := stops.Run(ctx, j, nil); err == nil {
		t.Fatal("the plan was not interrupted")
	}
	file, err := os.OpenFile(removalPath(d), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"job":"to`); err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	resumed := false
	good := step.Plan{Name: "uninstall", Steps: []step.Step{{ID: "one", Do: func(context.Context, step.Report) error { return nil }}}}
	if err := good.Run(t.Context(), j, func(e step.Event) { resumed = resumed || e.Resumed }); err != nil {
		t.Fatal(err)
	}
	if !resumed {
		t.Error("the interrupted removal was not gone on with")
	}
	if !gone(removalPath(d)) {
		t.Error("the journal stayed after the removal")
	}
}

func TestUninstallPlans(t *testing.T) {
	_, d := bench(t)
	ids := func(r Removal) string {
		plan, _, err := Uninstall(r, d, nil)
		if err != nil || plan.Validate() != nil {
			t.Fatal(err, plan.Validate())
		}
		var list []string
		for _, s := range plan.Steps {
			list = append(list, s.ID)
		}
		return strings.Join(list, " ")
	}
	if got := ids(Removal{}); strings.Contains(got, "data") || strings.Contains(got, "users") {
		t.Errorf("without --purge: %s", got)
	}
	if got := ids(Removal{Purge: true}); !strings.HasSuffix(got, "packages engine data users program remains forget") {
		t.Errorf("with --purge: %s", got)
	}
}

func TestRestoreConfigLeavesWhatSomebodyChanged(t *testing.T) {
	before := `{"dns": ["9.9.9.9"]}`
	made, err := dockerConfig([]byte(before))
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name   string
		record *string
		now    string
		want   string // empty: no file
	}{
		{"ours alone goes", nil, "", ""},
		{"theirs comes back", &before, string(made), before},
		{"changed since: it stays", &before, `{"x": 1}`, `{"x": 1}`},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			_, d := bench(t)
			u := &uninstall{Deps: d, record: Record{DockerConfig: test.record}}
			path := d.at("etc/docker/daemon.json")
			if test.now == "" {
				ours, err := dockerConfig(nil)
				if err != nil {
					t.Fatal(err)
				}
				test.now = string(ours)
			}
			if err := d.put(public(path, []byte(test.now))); err != nil {
				t.Fatal(err)
			}
			if err := u.restoreConfig(path); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if string(data) != test.want || test.want == "" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is %q, %v", data, err)
			}
		})
	}
}
