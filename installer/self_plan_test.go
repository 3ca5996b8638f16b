// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
)

// takes is what the new program's own plan sees on a box where it is on trial.
func takes(t *testing.T) (*twin, Options, Facts) {
	t.Helper()
	m := onTrial(t, Applying, 0)
	o, f := asked(), good()
	o.Version, o.Program = m.new().Version, m.self.binary(m.new().Program)
	f.Program.Digest = m.new().Program[len(o.Version)+1:] + "rest"
	f.TimeDaemon = "chrony"
	f.Installed = Installed{Version: "1.0.0", Finished: true, Record: &Record{Version: "1.0.0", Finished: now()}}
	return m, o, f
}

func TestSelfPlanIsAnInstallWithoutTheStack(t *testing.T) {
	m, o, f := takes(t)
	plan, err := SelfPlan(o, f, m.self)
	if err != nil || plan.Validate() != nil {
		t.Fatal(err, plan.Validate())
	}
	var ids []string
	for _, s := range plan.Steps {
		ids = append(ids, s.ID)
	}
	if got := strings.Join(ids, " "); got != "engine-config packages engine users folders settings firewall updates units daemon edge" {
		t.Errorf("the steps are %s", got)
	}
	if plan.Key != m.new().Program {
		t.Errorf("its key is %s", plan.Key)
	}
}

func TestSelfPlanRefuses(t *testing.T) {
	cases := []struct {
		name   string
		change func(*twin, *Options, *Facts)
		want   string
	}{
		{"a machine without an installation", func(_ *twin, _ *Options, f *Facts) { f.Installed.Record = nil }, "cli.not-installed"},
		{"one that was removed", func(_ *twin, _ *Options, f *Facts) { f.Installed.Record.Removed = now() }, "cli.not-installed"},
		{"one that is not finished", func(_ *twin, _ *Options, f *Facts) { f.Installed.Record.Finished = time.Time{} }, "self.unfinished"},
		{"a record that is damaged", func(_ *twin, _ *Options, f *Facts) { f.Installed.Err = "no JSON" }, "install.record-unreadable"},
		{"a document that is damaged", func(_ *twin, _ *Options, f *Facts) { f.Installed.Config = []byte("stacks: 3") }, "config.syntax"},
		{"a root that is lost", func(_ *twin, _ *Options, f *Facts) { f.RootErr = "no such file" }, "install.option-acme-root"},
		{"a program in a person's folder", func(m *twin, o *Options, _ *Facts) { o.Program = m.self.binary(m.old().Program) }, "self.not-called"},
		{"a program that is not on trial", func(_ *twin, o *Options, _ *Facts) { o.Version = "3.0.0" }, "self.not-called"},
	}
	for _, test := range cases {
		m, o, f := takes(t)
		test.change(m, &o, &f)
		if _, err := SelfPlan(o, f, m.self); !appliance.IsProblem(err, test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

// busyBox says of each question in turn which job runs.
type busyBox struct {
	*twin
	jobs []string
}

func (b *busyBox) Status(context.Context) (appliance.Status, error) {
	if len(b.jobs) == 0 {
		return appliance.Status{}, errors.New("the daemon does not listen")
	}
	now := appliance.Status{Jobs: []appliance.Job{{Plan: "self-update"}, {Plan: "install"}, {Plan: b.jobs[0], Key: "delivery"}}}
	if len(b.jobs) > 1 {
		b.jobs = b.jobs[1:]
	}
	return now, nil
}

// TestTakeoverWaitsForJobs: the update of a stack is not cut off, but one that does
// not end holds nothing up for ever.
func TestTakeoverWaitsForJobs(t *testing.T) {
	for name, test := range map[string]struct {
		jobs []string
		want time.Duration
	}{
		"two, then none": {[]string{"stack-update", "stack-update", "self-update"}, 2 * time.Second},
		"none":           {[]string{"install"}, 0},
		"without end":    {[]string{"backup"}, jobsBound},
		"a dead daemon":  {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &busyBox{jobs: test.jobs}
				noted := ""
				start := time.Now()
				takeover{&install{}, Self{Witness: b}}.awaitJobs(t.Context(), func(note string) { noted = note })
				if took := time.Since(start); took != test.want || (noted == "") != (took == 0) {
					t.Errorf("it waited %v, saying %q", took, noted)
				}
			})
		})
	}
}

func TestUninstallForgetsATrial(t *testing.T) {
	m := onTrial(t, Watching, 1)
	u := &uninstall{Deps: m.self.Deps}
	s, _ := u.program()
	if err := s.Do(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	l, err := m.self.Ledger()
	if err != nil || l.Trial != nil || len(l.Past) != 1 || !gone(m.self.Paths.Programs()) {
		t.Errorf("after an uninstall: %+v, %v", l, err)
	}
	// Nobody can read it: the uninstall goes on all the same.
	if err := os.WriteFile(LedgerPath(m.self.Paths), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Do(t.Context(), func(string) {}); err != nil {
		t.Error(err)
	}
}

func TestLedgerOfALaterVersionIsRefused(t *testing.T) {
	m := newTwin(t)
	for content, want := range map[string]string{
		`{"schema":2}`: "schema 2", `{"schema":0}`: "schema 0", `{`: "JSON", strings.Repeat(" ", maxLedger+1): "larger",
	} {
		if err := os.WriteFile(LedgerPath(m.self.Paths), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := m.self.Ledger()
		if !appliance.IsProblem(err, "self.unreadable") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", content, err)
		}
		if err := m.self.Count(t.Context(), "daemon"); err == nil {
			t.Errorf("%.20q was counted in", content)
		}
	}
}

// TestLedgerStaysSmall: it is read at each start of a unit.
func TestLedgerStaysSmall(t *testing.T) {
	m := newTwin(t)
	l := Ledger{Schema: 1, Bad: map[string]Bad{}}
	for n := range 3 * keptPast {
		b := Build{Program: strings.Repeat("x", n+1)}
		l.Past = append(l.Past, SelfChange{To: b})
		l.Bad[b.Program] = Bad{At: now().Add(time.Duration(n) * time.Hour)}
	}
	if err := m.self.write(&l); err != nil {
		t.Fatal(err)
	}
	got, err := m.self.Ledger()
	newest := strings.Repeat("x", 3*keptPast)
	if _, there := got.Bad[newest]; err != nil || len(got.Past) != keptPast || len(got.Bad) != keptPast || !there || got.Past[keptPast-1].To.Program != newest {
		t.Errorf("%d changes, %d marks, the newest mark is there: %v; %v", len(got.Past), len(got.Bad), there, err)
	}
}
