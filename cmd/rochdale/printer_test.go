// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
	"rochdale/stacks"
	"rochdale/stacks/bundle"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// testApp is an app that writes talk and answer to one buffer, in their order.
func testApp(terminal bool, env map[string]string, args ...string) (*app, *bytes.Buffer) {
	var out bytes.Buffer
	get := func(name string) string { return env[name] }
	a := newApp(args, streams{In: &bytes.Buffer{}, Out: &out, Err: &out, Terminal: terminal}, get)
	return a, &out
}

// TestPrinter shows one installation in every rendering: a step that was already
// so, one that ran with notes, one that failed; the plan; findings; the error.
func TestPrinter(t *testing.T) {
	cases := []struct {
		golden   string
		terminal bool
		env      map[string]string
		args     []string
	}{
		{"terminal.golden", true, map[string]string{"LANG": "en_GB.UTF-8", "TERM": "xterm"}, nil},
		{"terminal-no-color.golden", true, map[string]string{"LANG": "C", "TERM": "xterm", "NO_COLOR": "1"}, nil},
		{"plain.golden", false, map[string]string{"LANG": "en_GB.UTF-8", "TERM": "xterm"}, nil},
		{"plain-es.golden", false, map[string]string{"LC_ALL": "es_MX.UTF-8"}, nil},
		{"plain-fr.golden", false, nil, []string{"--lang", "fr"}},
		{"dumb.golden", true, map[string]string{"LANG": "en_GB.UTF-8", "TERM": "dumb"}, nil},
		{"json.golden", true, map[string]string{"LANG": "en_GB.UTF-8", "TERM": "xterm"}, []string{"--json"}},
		{"quiet.golden", false, nil, []string{"--quiet"}},
	}
	for _, test := range cases {
		t.Run(test.golden, func(t *testing.T) {
			a, out := testApp(test.terminal, test.env, test.args...)
			root := newRootCommand(a)
			if err := root.ParseFlags(test.args); err != nil {
				t.Fatal(err)
			}
			a.printer.configure(a.flags)
			show(t, a)
			golden(t, filepath.Join("printer", test.golden), out.Bytes())
		})
	}
}

// show prints everything that a printer can print. Its steps are those of a
// stack's start, which have titles in every language.
func show(t *testing.T, a *app) {
	t.Helper()
	if err := a.printer.Plan(examplePlan()); err != nil {
		t.Error(err)
	}
	a.printer.Findings([]appliance.Finding{
		{Message: appliance.Message{ID: "doctor.port-silent", Args: appliance.Args("port", 443)}, Severity: appliance.Failure},
		{Message: appliance.Message{ID: "doctor.no-swap", Args: appliance.Args("total", "1.0 GB")}, Severity: appliance.Warning},
		{Message: appliance.Message{ID: "backup.no-offsite"}, Severity: appliance.Notice},
	})
	for _, e := range exampleEvents() {
		a.printer.Event(e)
	}
	a.printer.Note("cli.man-written", "path", "/tmp/man")
	a.printer.Say("cli.stack.web")
	a.printer.Result(stackAnswer{Schema: 1, Stack: "delivery"}, func(w io.Writer) { _, _ = io.WriteString(w, "the result\n") })
	err := appliance.Problem("doctor.port-silent", errors.New("connection refused"), "port", 443)
	a.finish(t.Context(), withLog(&step.Error{Plan: "stack-start", Step: "route", Err: err}, "journalctl -u rochdale"))
	a.finish(t.Context(), &stacks.Invalid{Problems: []stacks.Problem{
		{File: "compose.yaml", Line: 12, ID: "config.host-twice", Args: appliance.Args("host", "a", "other", "b", "stack", "c")},
		{File: "stack.yaml", ID: "config.host-twice", Args: appliance.Args("host", "d", "other", "e", "stack", "f")},
	}})
}

func examplePlan() step.Plan {
	return step.Plan{Name: "stack-start", Key: "delivery", Steps: []step.Step{
		{ID: "unpack", Estimate: 3 * time.Second, Effects: []step.Effect{{Kind: "writes", What: "/var/lib/rochdale/stacks/delivery", Bytes: 22_000_000}}},
		{ID: "images", Estimate: 62 * time.Second, Effects: []step.Effect{{Kind: "downloads", What: "docker.io", Bytes: 41_600_000}, {Kind: "installs", What: "docker.io"}}},
		{ID: "route"},
	}}
}

func exampleEvents() []step.Event {
	at := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	event := func(id string, i int, k step.Kind) step.Event {
		return step.Event{Job: "01JOB", Plan: "stack-start", Step: id, Index: i, Total: 3, Kind: k, At: at}
	}
	ran, broke, noted := event("images", 2, step.Done), event("route", 3, step.Broke), event("images", 2, step.Noted)
	ran.Duration, broke.Duration, broke.Error = 64*time.Second, 300*time.Millisecond, "refused"
	noted.Note = "a very long note that would wrap on a narrow terminal and then never be wiped away again"
	ended := step.Event{Job: "01JOB", Plan: "stack-start", Total: 3, Kind: step.Ended, Error: "refused", At: at}
	return []step.Event{event("unpack", 1, step.Skipped), event("images", 2, step.Started), noted, ran, event("route", 3, step.Started), broke, ended}
}

func TestDescribe(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	left := appliance.Problem("daemon.left", nil, "job", "01JOB").WithCode(appliance.ExitInterrupted)
	cases := []struct {
		name string
		ctx  context.Context
		err  error
		id   string
		code int
	}{
		{"a known error", t.Context(), appliance.Problem("cli.not-installed", nil).WithCode(appliance.ExitNotThere), "cli.not-installed", 10},
		{"a known error in a step", t.Context(), &step.Error{Plan: "p", Step: "s", Err: appliance.Problem("cli.unexpected", nil).WithCode(appliance.ExitLocked)}, "cli.unexpected", 11},
		{"a program that failed", t.Context(), &step.Error{Plan: "p", Step: "s", Err: &host.ExitError{Name: "apt-get", Code: 100}}, "cli.program-failed", 1},
		{"a stack with problems", t.Context(), &stacks.Invalid{Problems: []stacks.Problem{{File: "a"}}}, "cli.stack-invalid", 12},
		{"an unknown stack", t.Context(), &bundle.Refused{ID: "stack.bundle.unknown"}, "stack.bundle.unknown", 2},
		{"a damaged bundle", t.Context(), &bundle.Refused{ID: "stack.bundle.digest"}, "stack.bundle.digest", 12},
		{"Ctrl-C", cancelled, &step.Error{Plan: "p", Step: "s", Err: context.Canceled}, "cli.interrupted", 130},
		{"Ctrl-C that a program got too", cancelled, &step.Error{Plan: "install", Step: "packages", Err: appliance.Problem("apt.failed", &host.ExitError{Name: "apt-get", Code: -1})}, "cli.interrupted", 130},
		{"Ctrl-C while the daemon works for an installation", cancelled, &step.Error{Plan: "install", Step: "stack", Err: left}, "cli.interrupted", 130},
		{"Ctrl-C while the daemon works", cancelled, left, "daemon.left", 130},
		{"what the daemon says ended before Ctrl-C", cancelled, &step.Error{Plan: "stack-update", Step: "s", Err: appliance.Problem("update.put-back", nil)}, "update.put-back", 12},
		{"a time limit of ours is no Ctrl-C", t.Context(), context.DeadlineExceeded, "cli.unexpected", 1},
		{"anything else", t.Context(), io.ErrUnexpectedEOF, "cli.unexpected", 1},
		{"said already", t.Context(), exit(3), "", 3},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			a, _ := testApp(false, nil)
			got := a.describe(test.ctx, test.err)
			if got.ID != test.id || got.Code != test.code {
				t.Errorf("got %s and exit code %d, want %s and %d", got.ID, got.Code, test.id, test.code)
			}
		})
	}
}

// TestRunItAgain: a failure says so only where what is finished is not done twice.
func TestRunItAgain(t *testing.T) {
	a, _ := testApp(false, nil)
	for plan, want := range map[string]bool{
		"install": true, "recover": true, "stack-start": true,
		"backup-full": false, "backup-dump": false, "backup-check": false, "backup-drill": false, "stack-update": false, "stack-restore": false,
	} {
		err := &step.Error{Plan: plan, Step: "s", Err: appliance.Problem("backup.replaced", nil)}
		if got := a.describe(t.Context(), err).again; got != want {
			t.Errorf("%s: %v", plan, got)
		}
	}
}

// TestLeavingReadsWell: the line of the step has an end, and nothing calls it an error.
func TestLeavingReadsWell(t *testing.T) {
	a, out := testApp(false, nil, "--lang", "en")
	a.printer.Event(step.Event{Job: "01JOB", Plan: "stack-restore", Step: "fetch", Index: 1, Total: 9, Kind: step.Started})
	left := appliance.Problem("daemon.left-change", nil, "job", "01JOB", "stack", "delivery").WithCode(appliance.ExitInterrupted)
	a.printer.problem(a.describe(t.Context(), left))
	got := out.String()
	for _, want := range []string{"... \nNote: You do not watch any more; it goes on\n", "rochdale job show 01JOB", "rochdale update rollback delivery"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "Error:") || strings.Contains(got, "again") {
		t.Error(got)
	}
}

// TestAllProblemsOfAStack takes the way of a bundle that the daemon unpacked.
func TestAllProblemsOfAStack(t *testing.T) {
	invalid := &stacks.Invalid{Problems: []stacks.Problem{
		{File: "compose.yaml", Line: 12, ID: "stack.problem.privileged", Args: map[string]string{"key": "services.web.privileged"}},
		{File: "sql/00002_b.sql", Line: 1, ID: "stack.problem.migration-transaction"},
		{File: "stack.yaml", ID: "stack.problem.empty"},
	}}
	a, _ := testApp(false, nil)
	got := a.describe(t.Context(), &step.Error{Plan: "stack-start", Step: "unpack", Err: refused(invalid)})
	if got.ID != "cli.stack-invalid" || got.Code != appliance.ExitCheckFailed || !strings.Contains(got.Title, "3") || got.Detail != "" {
		t.Errorf("problem %+v", got)
	}
	if len(got.Items) != 3 || !strings.HasPrefix(got.Items[0].line(), "compose.yaml:12: services.web.privileged") || got.Items[1].Fix == "" || got.Items[2].Line != 0 {
		t.Errorf("items %+v", got.Items)
	}
	for range 200 {
		invalid.Problems = append(invalid.Problems, invalid.Problems[0])
	}
	if got := a.describe(t.Context(), refused(invalid)); len(got.Items) != maxPlaces || !strings.Contains(got.Title, "203") {
		t.Errorf("%d items, %s", len(got.Items), got.Title)
	}
}
