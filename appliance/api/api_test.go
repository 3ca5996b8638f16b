// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/step"
)

// daemon answers as it is told.
type daemon struct {
	mu    sync.Mutex
	asked []string
	err   error
	// hold keeps a streaming verb busy after its first event.
	hold chan struct{}
	left chan error
	plan string // of the events that it tells
}

func (d *daemon) did(format string, args ...any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprintf(format, args...))
	return d.err
}

func (d *daemon) Status(context.Context) (appliance.Status, error) {
	return appliance.Status{Schema: 1, Healthy: true}, d.did("status")
}

func (d *daemon) Findings(context.Context) []appliance.Finding {
	_ = d.did("findings")
	return []appliance.Finding{{Message: appliance.Message{ID: "x.y", Args: map[string]string{"a": "b"}}, Severity: appliance.Warning}}
}

func (d *daemon) Jobs(_ context.Context, limit int) ([]appliance.Job, error) {
	return []appliance.Job{{ID: "job"}}, d.did("jobs %d", limit)
}

func (d *daemon) WatchJob(ctx context.Context, job string, watch func(step.Event)) error {
	return d.stream(ctx, "watch "+job, watch)
}

func (d *daemon) stream(ctx context.Context, what string, watch func(step.Event)) error {
	watch(step.Event{Job: "j1", Plan: cmp.Or(d.plan, "p"), Step: "one", Kind: step.Started})
	if d.hold != nil {
		select {
		case <-d.hold:
		case <-ctx.Done():
			d.left <- context.Cause(ctx)
			return context.Cause(ctx)
		}
	}
	watch(step.Event{Job: "j1", Plan: "p", Step: "one", Kind: step.Done})
	return d.did("%s", what)
}

func (d *daemon) Apply(ctx context.Context, r appliance.ApplyRequest, watch func(step.Event)) (appliance.Release, error) {
	return appliance.Release{Stack: r.Stack, Generation: 3}, d.stream(ctx, "apply "+r.Stack+" "+r.Digest, watch)
}

func (d *daemon) Restart(ctx context.Context, stack string, watch func(step.Event)) error {
	return d.stream(ctx, "restart "+stack, watch)
}

func (d *daemon) Hosts(ctx context.Context, r appliance.HostsRequest, watch func(step.Event)) error {
	return d.stream(ctx, fmt.Sprintf("hosts %s %s %v", r.Stack, r.Domain, r.Aliases), watch)
}

func (d *daemon) Link(_ context.Context, r appliance.LinkRequest) (string, error) {
	return "https://x/y", d.did("link %s %s", r.Stack, r.Member)
}

func (d *daemon) Remove(ctx context.Context, stack string, watch func(step.Event)) error {
	return d.stream(ctx, "remove "+stack, watch)
}

func (d *daemon) Logs(_ context.Context, r appliance.LogsRequest, w io.Writer) error {
	_, err := w.Write(bytes.Repeat([]byte("a line with \xff in it\n"), 100_000))
	return errors.Join(err, d.did("logs %s %s %d", r.Stack, r.Service, r.Options.Tail))
}

// serve gives a client of a daemon on a real socket.
func serve(t *testing.T, d *daemon) (*api.Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.sock")
	l, err := api.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- api.Serve(ctx, l, d, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return api.NewClient(path), path
}

func TestVerbs(t *testing.T) {
	d := &daemon{}
	c, _ := serve(t, d)
	ctx := t.Context()
	events := 0
	watch := func(step.Event) { events++ }
	var out strings.Builder
	status, err1 := c.Status(ctx)
	findings, err2 := c.Findings(ctx)
	jobs, err3 := c.Jobs(ctx, 900)
	release, err4 := c.Apply(ctx, appliance.ApplyRequest{Stack: "delivery", Digest: "sha256:x"}, watch)
	url, err5 := c.Link(ctx, appliance.LinkRequest{Stack: "delivery", Member: "ada@rides.example"})
	err := errors.Join(err1, err2, err3, err4, err5,
		c.WatchJob(ctx, "j9", watch), c.Restart(ctx, "delivery", watch), c.Remove(ctx, "delivery", nil),
		c.Hosts(ctx, appliance.HostsRequest{Stack: "delivery", Domain: "a.example", Aliases: []string{"b.example"}}, watch),
		c.Logs(ctx, appliance.LogsRequest{Stack: "delivery", Service: "coop", Options: appliance.LogOptions{Tail: 5}}, &out))
	if err != nil {
		t.Fatal(err)
	}
	if !status.Healthy || findings[0].Args["a"] != "b" || jobs[0].ID != "job" || release.Generation != 3 || url != "https://x/y" || events != 8 {
		t.Errorf("%+v %+v %+v %+v %q, %d events", status, findings, jobs, release, url, events)
	}
	if out.String() != strings.Repeat("a line with \xff in it\n", 100_000) {
		t.Errorf("%d bytes of log", out.Len())
	}
	want := "status|findings|jobs 500|apply delivery sha256:x|link delivery ada@rides.example|watch j9|restart delivery|remove delivery|hosts delivery a.example [b.example]|logs delivery coop 5"
	if got := strings.Join(d.asked, "|"); got != want {
		t.Errorf("asked %s", got)
	}
}

func TestErrorsKeepTheirWords(t *testing.T) {
	cause := appliance.Problem("engine.unhealthy", errors.New("connection refused"), "service", "coop").WithCode(appliance.ExitLocked)
	cause.Places = []appliance.Place{
		{File: "stack.yaml", Line: 3, Message: appliance.Message{ID: "a.b", Args: map[string]string{"key": "x"}}}, {File: "compose.yaml", Message: appliance.Message{ID: "c.d"}},
	}
	d := &daemon{err: &step.Error{Plan: "stack-start", Step: "start", Err: cause}}
	c, _ := serve(t, d)
	_, err := c.Apply(t.Context(), appliance.ApplyRequest{Stack: "delivery"}, nil)
	var known *appliance.Error
	var inStep *step.Error
	if !errors.As(err, &known) || known.ID != cause.ID || known.Args["service"] != "coop" || known.Code != cause.Code || known.Err.Error() != "connection refused" {
		t.Errorf("%+v", err)
	}
	if !reflect.DeepEqual(known.Places, cause.Places) {
		t.Errorf("places %+v", known.Places)
	}
	if !errors.As(err, &inStep) || inStep.Plan != "stack-start" || inStep.Step != "start" {
		t.Errorf("%+v", err)
	}
	d.err = errors.New("plain")
	if _, err := c.Status(t.Context()); !appliance.IsProblem(err, "daemon.unexpected") || appliance.ExitCode(err) != appliance.ExitUnexpected {
		t.Error(err)
	}
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.sock")
	_, err := api.NewClient(path).Status(t.Context())
	if !errors.Is(err, api.ErrNotRunning) || !appliance.IsProblem(err, "daemon.not-running") {
		t.Error(err)
	}
	// A dead daemon's socket is replaced, and open to us alone.
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	if _, err := api.NewClient(path).Status(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Error(err)
	}
	l, err := api.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestAskerLeaves: the daemon learns at once that nobody listens.
func TestAskerLeaves(t *testing.T) {
	d := &daemon{hold: make(chan struct{}), left: make(chan error, 1)}
	c, _ := serve(t, d)
	ctx, leave := context.WithCancel(t.Context())
	err := c.Restart(ctx, "delivery", func(step.Event) { leave() })
	if !appliance.IsProblem(err, "daemon.left") || appliance.ExitCode(err) != appliance.ExitInterrupted {
		t.Error(err)
	}
	if err := <-d.left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestLeavingIsNotStopping: with Ctrl-C a person hears that the daemon goes on with
// what it has begun, as which job, and what undoes it, if anything does.
func TestLeavingIsNotStopping(t *testing.T) {
	update := func(ctx context.Context, c *api.Client, watch func(step.Event)) error {
		_, err := c.Update(ctx, appliance.UpdateRequest{Stack: "delivery"}, watch)
		return err
	}
	restore := func(ctx context.Context, c *api.Client, watch func(step.Event)) error {
		_, err := c.Restore(ctx, appliance.RestoreRequest{Stack: "delivery"}, watch)
		return err
	}
	rollback := func(ctx context.Context, c *api.Client, watch func(step.Event)) error {
		_, err := c.Rollback(ctx, appliance.RollbackRequest{Stack: "delivery"}, watch)
		return err
	}
	for name, test := range map[string]struct {
		plan, id string
		order    func(context.Context, *api.Client, func(step.Event)) error
	}{
		"an update":              {"stack-update", "daemon.left-change", update},
		"the copy before one":    {"backup-dump", "daemon.left-early", update},
		"a restore":              {"stack-restore", "daemon.left-change", restore},
		"a way back has no undo": {"stack-rollback", "daemon.left", rollback},
	} {
		t.Run(name, func(t *testing.T) {
			d := &daemon{hold: make(chan struct{}), left: make(chan error, 1), plan: test.plan}
			c, _ := serve(t, d)
			ctx, leave := context.WithCancel(t.Context())
			err := test.order(ctx, c, func(step.Event) { leave() })
			var told *appliance.Error
			if !errors.As(err, &told) || told.ID != test.id || told.Args["job"] != "j1" || told.Code != appliance.ExitInterrupted {
				t.Error(err)
			}
			<-d.left
		})
	}
}

// TestDaemonEnds: whoever listens gets an error of ours, not a broken pipe.
func TestDaemonEnds(t *testing.T) {
	d := &daemon{hold: make(chan struct{}), left: make(chan error, 1)}
	path := filepath.Join(t.TempDir(), "daemon.sock")
	l, err := api.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- api.Serve(ctx, l, d, slog.New(slog.DiscardHandler)) }()
	err = api.NewClient(path).Restart(t.Context(), "delivery", func(step.Event) { stop() })
	if !appliance.IsProblem(err, "daemon.stopping") && !appliance.IsProblem(err, "daemon.cut-off") || appliance.ExitCode(err) != appliance.ExitCheckFailed {
		t.Error(err)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestHostileRequests(t *testing.T) {
	_, path := serve(t, &daemon{})
	raw := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	for name, c := range map[string]struct {
		method, verb, body string
		status             int
		id                 string
	}{
		"not JSON":       {"POST", "status", "{", 400, "daemon.request"},
		"unknown field":  {"POST", "stack.link", `{"schema":1,"body":{"stack":"a","run":"rm"}}`, 400, "daemon.request"},
		"wrong type":     {"POST", "stack.link", `{"schema":1,"body":{"stack":7}}`, 400, "daemon.request"},
		"newer schema":   {"POST", "status", `{"schema":2,"body":{}}`, 400, "daemon.schema"},
		"no schema":      {"POST", "status", `{}`, 400, "daemon.schema"},
		"endless":        {"POST", "stack.link", `{"schema":1,"body":{"stack":"` + strings.Repeat("a", 1<<20), 400, "daemon.request"},
		"unknown verb":   {"POST", "shell", `{"schema":1,"body":{}}`, 404, ""},
		"another method": {"GET", "status", "", 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, "http://d/v1/"+c.verb, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := raw.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.id) {
				t.Errorf("%d %s %v", resp.StatusCode, body, err)
			}
		})
	}
}

// TestStrangersAreTurnedAway runs this very test as another user, who can reach
// the socket because somebody opened it by mistake.
func TestStrangersAreTurnedAway(t *testing.T) {
	if path := os.Getenv("ROCHDALE_TEST_STRANGER"); path != "" {
		_, err := api.NewClient(path).Status(t.Context())
		fmt.Println("stranger:", err, "code", appliance.ExitCode(err))
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("only root can become somebody else: the tests of this project run as root")
	}
	d := &daemon{}
	_, path := serve(t, d)
	//nolint:usetesting // a stranger can not enter the test's own folder
	open := filepath.Join(os.TempDir(), "rochdale-stranger-"+filepath.Base(t.TempDir())+strconv.Itoa(os.Getpid()))
	program := open + ".test"
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(open); _ = os.Remove(program) })
	for _, err := range []error{os.Rename(path, open), os.Chmod(open, 0o777), os.WriteFile(program, data, 0o755), os.Chmod(program, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-test.run=^TestStrangersAreTurnedAway$", "-test.v")
	cmd.Dir = os.TempDir() //nolint:usetesting // as above
	cmd.Env = append(os.Environ(), "ROCHDALE_TEST_STRANGER="+open)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	code := fmt.Sprint("code ", appliance.ExitUsage)
	if err != nil || !strings.Contains(string(out), "stranger: daemon.forbidden") || !strings.Contains(string(out), code) || len(d.asked) != 0 {
		t.Errorf("%v %s, asked %v", err, out, d.asked)
	}
}
