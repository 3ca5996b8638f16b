// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// runPlan is the transient unit with the plan of a program. It goes on when who
// asked for it has gone, and ends with the boot.
func (m *twin) runPlan(ctx context.Context, c host.Command) (host.Result, error) {
	at := slices.Index(c.Args, "--")
	program := filepath.Base(filepath.Dir(c.Args[at+1]))
	m.mu.Lock()
	if m.busy > 0 {
		m.busy--
		m.mu.Unlock()
		return host.Result{Stderr: []byte("Failed to connect to bus: Connection refused\n")}, &host.ExitError{Name: c.Name, Code: 1}
	}
	if m.stopPlan != nil {
		m.mu.Unlock()
		return host.Result{}, &host.ExitError{Name: c.Name, Code: 1, Stderr: "the unit was already loaded"}
	}
	run, stop := context.WithCancel(m.boot)
	m.stopPlan, m.bus = stop, make(chan struct{})
	bus := m.bus
	m.mu.Unlock()
	ended := make(chan error, 1)
	m.wait.Go(func() {
		err := m.plan(program).Run(run, forgetful{}, nil)
		m.mu.Lock()
		m.stopPlan = nil
		m.mu.Unlock()
		stop()
		ended <- err
	})
	select {
	case <-ctx.Done():
		return host.Result{}, fmt.Errorf("systemd-run was stopped: %w", context.Cause(ctx))
	case <-bus: // the plan goes on
		return host.Result{Stderr: []byte("Warning! D-Bus connection terminated.\nFinished with result: success\n")}, nil
	case err := <-ended:
		return host.Result{Stderr: []byte("Finished with result: x\nMain processes terminated with: code=exited/status=x\n")}, m.code(run, err)
	}
}

// loseBus ends the system's bus while a plan runs.
func (m *twin) loseBus() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.bus)
}

func (m *twin) code(run context.Context, err error) error {
	if err == nil {
		return nil
	}
	code := appliance.ExitCheckFailed
	if errors.Is(err, context.Canceled) && run.Err() != nil {
		code = cmp.Or(m.cutCode, appliance.ExitInterrupted)
	}
	said, _ := json.Marshal(map[string]string{"type": "error", "title": err.Error()})
	if err := os.WriteFile(m.self.planLog(), append(said, '\n'), 0o600); err != nil {
		m.t.Error(err)
	}
	return &host.ExitError{Name: "systemd-run", Code: code}
}

// plan is the part of the takeover that needs no packages and no users.
func (m *twin) plan(program string) step.Plan {
	b := buildOf(program)
	i := &install{Deps: m.self.Deps, o: Options{Version: b.Version}}
	i.f.Program.Digest = program[len(b.Version)+1:] + "rest"
	t := takeover{i, m.self}
	mark := func() (string, error) { return program, nil }
	if m.planStuck && program == m.names[newProgram] {
		return step.Plan{Name: "self-update", Key: program, Steps: []step.Step{{ID: "daemon", Do: func(ctx context.Context, _ step.Report) error {
			u := turning{unitLink: unitLinks()[0]}
			_ = errors.Join(t.claim(ctx, u), t.systemd().Restart(ctx, u.unit))
			<-ctx.Done()
			return ctx.Err()
		}}}}
	}
	return step.Plan{Name: "self-update", Key: program, Steps: []step.Step{
		{ID: "packages", Do: func(ctx context.Context, _ step.Report) error {
			wait(ctx, 3*time.Second)
			if m.planFails != "" && program == m.names[newProgram] {
				return errors.New(m.planFails)
			}
			return ctx.Err()
		}},
		t.turn(turning{unitLinks()[0], mark, t.awaitJobs, t.daemonReady}),
		t.turn(turning{unitLinks()[1], mark, nil, m.Edge}),
	}}
}

// forgetful is a journal that keeps nothing.
type forgetful struct{}

func (forgetful) Open(context.Context, string, string, time.Time) (string, bool, error) {
	return "job", false, nil
}
func (forgetful) Record(context.Context, step.Event) error                     { return nil }
func (forgetful) Close(context.Context, string, step.Outcome, time.Time) error { return nil }
