// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/state"
	"rochdale/appliance/step"
	"rochdale/stacks/bundle"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rochdale": main})
}

// TestScript runs the manual in testdata/script: each file is a scenario that a
// person can read, and that runs the real program.
//
// Beside testscript's own commands there are: "code N COMMAND" wants the exit
// code N; "json FIELD=VALUE..." looks into the last line that was printed; "box"
// makes a machine on which a stack was installed; "bundle FILE" writes a bundle of
// the delivery stack whose image does not travel; "daemon" answers for the box's
// daemon until the script ends.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROCHDALE_ROOT", filepath.Join(e.WorkDir, "box"))
			e.Setenv("LANG", "C.UTF-8")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": scriptCode, "json": scriptJSON, "box": scriptBox, "bundle": scriptBundle, "daemon": scriptDaemon,
		},
	})
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("use: code N COMMAND [ARGUMENTS]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exited interface{ ExitCode() int }
	got := 0
	if errors.As(err, &exited) {
		got = exited.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// scriptJSON compares fields of the last JSON line on standard output.
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	lines := splitLines(ts.ReadFile("stdout"))
	if len(lines) == 0 {
		ts.Fatalf("nothing was printed")
	}
	for _, line := range lines {
		var object map[string]json.RawMessage
		ts.Check(json.Unmarshal([]byte(line), &object))
	}
	var last map[string]any
	ts.Check(json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	for _, arg := range args {
		field, want, _ := cutEqual(arg)
		if got := fmt.Sprint(last[field]); (got == want) == neg {
			ts.Fatalf("%s is %s, not %s", field, got, want)
		}
	}
}

// scriptBox makes what an installation leaves on the disk, in the real format.
func scriptBox(ts *testscript.TestScript, neg bool, args []string) {
	paths := appliance.Paths{Root: ts.Getenv("ROCHDALE_ROOT")}
	for _, dir := range []string{paths.ConfigDir(), paths.Var(), paths.Run(), paths.Bundles("delivery")} {
		ts.Check(os.MkdirAll(dir, 0o700))
	}
	config := appliance.Config{
		Schema: 1, Language: "en", TLS: appliance.TLSConfig{Mode: "internal"}, Updates: appliance.UpdatesConfig{Reboot: "03:30"},
		Stacks: map[string]appliance.StackConfig{"delivery": {Domain: "rides.example", Aliases: []string{"www.rides.example"}}},
	}
	data, err := config.Encode()
	ts.Check(err)
	ts.Check(os.WriteFile(paths.Config(), data, 0o600))
	db, err := state.Open(context.Background(), paths.State())
	ts.Check(err)
	ts.Check(db.Commit(context.Background(), exampleRelease()))
	ts.Check(db.CloseFile())
}

func scriptBundle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("use: bundle FILE")
	}
	digest := "sha256:" + strings.Repeat("5", 64)
	img := bundle.Image{
		Name: "coop", Arch: runtime.GOARCH, From: "registry.example/coop@" + digest,
		ManifestDigest: digest, ConfigDigest: digest, DiffIDs: []string{digest},
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = bundle.Build(context.Background(), os.DirFS(filepath.Join("..", "..", "stacks", "catalog", "delivery")), []bundle.Image{img}, f)
	ts.Check(errors.Join(err, f.Close()))
}

func exampleRelease() appliance.Release {
	at := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	return appliance.Release{Stack: "delivery", Digest: "sha256:" + fmt.Sprintf("%064d", 1), Version: "1.4.0", Generation: 1, Committed: at}
}

// scriptDaemon serves the real socket protocol with an example behind it.
func scriptDaemon(ts *testscript.TestScript, neg bool, args []string) {
	ctx, stop := context.WithCancel(context.Background())
	l, err := api.Listen(ctx, appliance.Paths{Root: ts.Getenv("ROCHDALE_ROOT")}.DaemonSocket())
	ts.Check(err)
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(ctx, l, exampleDaemon{exampleRecovery(ts)}, slog.New(slog.DiscardHandler)) }()
	ts.Defer(func() {
		stop()
		ts.Check(<-ended)
	})
}

// exampleDaemon answers as a healthy box with one stack, whose restart fails
// when the stack is called "broken".
type exampleDaemon struct{ api.KitDaemon }

var _ api.Daemon = exampleDaemon{}

func (exampleDaemon) Status(context.Context) (appliance.Status, error) {
	return appliance.Status{
		Schema: 1, Healthy: true, Version: "1.2.3",
		Stacks:   []appliance.StackStatus{{Name: "delivery", Version: "1.4.0", State: appliance.StateRunning, URL: "https://rides.example"}},
		Findings: []appliance.Finding{{Message: appliance.Message{ID: "backup.no-offsite"}, Severity: appliance.Notice}},
		MemoryBytes: appliance.MemoryStatus{
			Units:      map[string]int64{"rochdale.service": 31_000_000, "rochdale-edge.service": 33_000_000},
			Containers: map[string]int64{"rochdale-delivery-coop-abc234": 25_000_000},
		},
		Certificates: []appliance.Certificate{{Name: "rides.example", NotAfter: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC), Issuer: "Example CA"}},
		Jobs:         []appliance.Job{},
	}, nil
}

// Findings tell of a second stack, whose database could not be saved.
func (exampleDaemon) Findings(context.Context) []appliance.Finding {
	args := appliance.Args("stack", "archive")
	return []appliance.Finding{
		{Message: appliance.Message{ID: "backup.stopped", Args: args}, Severity: appliance.Warning},
		{Message: appliance.Message{ID: "backup.not-parked", Args: args}, Severity: appliance.Warning},
	}
}

func (exampleDaemon) Jobs(context.Context, int) ([]appliance.Job, error) {
	at := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	return []appliance.Job{
		{ID: "01RUNS", Plan: "stack-restart", Key: "delivery", Opened: at},
		{ID: "01FAILED", Plan: "install", Opened: at.Add(-time.Hour), Closed: at, Outcome: step.Failed},
	}, nil
}

func (exampleDaemon) WatchJob(_ context.Context, job string, watch func(step.Event)) error {
	if job == "01FAILED" {
		why := &step.Error{Plan: "stack-restore", Step: "fetch", Err: appliance.Problem("update.interrupted", nil, "stack", "delivery")}
		return appliance.JobEnd([]step.Event{{Job: job, Plan: "stack-restore", Kind: step.Ended, Error: why.Error()}})
	}
	if job != "01RUNS" {
		return appliance.Problem("daemon.no-job", nil, "job", job).WithCode(appliance.ExitUsage)
	}
	start := step.Event{Job: job, Plan: "stack-restart", Step: "start", Index: 1, Total: 1, Kind: step.Started}
	watch(start)
	start.Kind, start.Duration = step.Done, 2*time.Second
	watch(start)
	return nil
}

func (exampleDaemon) Apply(context.Context, appliance.ApplyRequest, func(step.Event)) (appliance.Release, error) {
	return exampleRelease(), nil
}

func (exampleDaemon) Restart(_ context.Context, stack string, watch func(step.Event)) error {
	start := step.Event{Job: "01JOB", Plan: "stack-restart", Step: "start", Index: 1, Total: 1, Kind: step.Started}
	watch(start)
	end := start
	end.Kind, end.Duration = step.Done, 2*time.Second
	if stack != "delivery" {
		end.Kind, end.Error = step.Broke, "no such stack"
		watch(end)
		return &step.Error{Plan: "stack-restart", Step: "start", Err: appliance.Problem("daemon.no-stack", nil, "stack", stack).WithCode(appliance.ExitUsage)}
	}
	watch(end)
	return nil
}

func (exampleDaemon) Hosts(context.Context, appliance.HostsRequest, func(step.Event)) error {
	return nil
}

func (exampleDaemon) Link(_ context.Context, r appliance.LinkRequest) (string, error) {
	if r.Member != "" {
		return "https://rides.example/reset/" + r.Member, nil
	}
	return "https://rides.example/first/abc", nil
}

func (exampleDaemon) Remove(context.Context, string, func(step.Event)) error { return nil }

func (exampleDaemon) Logs(_ context.Context, r appliance.LogsRequest, w io.Writer) error {
	_, err := fmt.Fprintf(w, "2027-01-31T18:00:00Z %s of %s, last %d\n", "hello", r.Stack, r.Options.Tail)
	return err
}
