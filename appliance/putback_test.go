// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"

	"rochdale/appliance"
)

// TestWhatIsNotTheReleasesOwn: a release that was put back for a reason of the machine
// is taken when that is mended.
func TestWhatIsNotTheReleasesOwn(t *testing.T) {
	faults := failures()
	mend := func(b *bench) {
		b.space.free, b.space.memory, b.data.err, b.data.takes, b.migrator.err = 1<<40, 1<<40, nil, 0, nil
	}
	for _, id := range []string{
		"migrate.busy", "migrate.broken-off", "migrate.copy-failed", "migrate.data-busy", "daemon.state-full", "engine.unreachable", "engine.slow", "edge.failed",
	} {
		faults[id] = failure{here: true, spoil: func(b *bench) { b.data.err = appliance.Problem(id, nil) }}
	}
	for _, name := range []string{
		"disk full", "no room", "no memory", "takes too long", "migrate.busy", "migrate.broken-off", "migrate.copy-failed",
		"migrate.data-busy", "daemon.state-full", "engine.unreachable", "engine.slow", "edge.failed",
	} {
		t.Run(name, func(t *testing.T) {
			f := faults[name]
			updating(t, f.edit, func(t *testing.T, b *bench, d *appliance.Daemon) {
				f.spoil(b)
				if c, err := apply(d); !appliance.IsProblem(err, f.told()) || c.Outcome != appliance.PutBack {
					t.Fatal(c.Outcome, err)
				}
				mend(b)
				if c, err := apply(d); err != nil || c.Outcome != appliance.Committed {
					t.Error(c.Outcome, err)
				}
			})
		})
	}
}

// TestOwnFaultIsNotForgotten over a later attempt that told nothing of the release.
func TestOwnFaultIsNotForgotten(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		again := func(r *appliance.UpdateRequest) { r.Again = true }
		b.migrator.err = appliance.Problem("migrate.failed", nil)
		_, first := apply(d)
		b.space.free = 10 << 20
		_, second := apply(d, again)
		b.space.free, b.migrator.err = 1<<40, nil
		if !appliance.IsProblem(first, "update.put-back") || !appliance.IsProblem(second, "update.no-room") {
			t.Fatal(first, second)
		}
		if _, err := apply(d); !appliance.IsProblem(err, "update.bad-version") {
			t.Error(err)
		}
	})
}

// TestReasonOutlivesTheDaemon that dies while it puts a change back.
func TestReasonOutlivesTheDaemon(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupDump); err != nil {
			t.Fatal(err)
		}
		before, row := b.serving(), b.row()
		b.migrator.err = appliance.Problem("migrate.failed", nil)
		begun := make(chan struct{})
		b.migrator.before = func() { close(begun) }
		b.engine.mu.Lock()
		b.engine.ready = 10 * time.Second
		b.engine.mu.Unlock()
		over := make(chan error, 1)
		go func() {
			_, err := apply(d)
			over <- err
		}()
		<-begun
		time.Sleep(2 * time.Second) // the old release takes longer to be back
		b.stop()
		if err := <-over; err == nil {
			t.Error("it was taken")
		}
		b.migrator.err, b.migrator.before = nil, nil
		d = b.boot()
		time.Sleep(time.Minute)
		b.stillServes(before, row)
		all, err := b.store.Changes(t.Context(), "delivery", 10)
		if err != nil || len(all) != 1 || all[0].Outcome != appliance.PutBack || all[0].Reason.ID != "migrate.copy-not-changed" {
			t.Errorf("%+v, %v", all, err)
		}
		if _, err := apply(d); !appliance.IsProblem(err, "update.bad-version") {
			t.Error(err)
		}
	})
}

// TestEndIsToldOnce: the daemon dies when it has kept how a change ended, and before it
// has forgotten what it was asked for. The next one puts in order what is there, and
// the change stays told as it was.
func TestEndIsToldOnce(t *testing.T) {
	for name, spoil := range map[string]func(*bench){
		"put back":  func(b *bench) { b.migrator.err = appliance.Problem("migrate.failed", nil) },
		"postponed": func(b *bench) { b.edge.set(func() { b.edge.inFlight = func(string) int { return 1 } }) },
		"committed": func(*bench) {},
	} {
		t.Run(name, func(t *testing.T) {
			updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
				spoil(b)
				told, _ := apply(d)
				if !told.Over() {
					t.Fatal(told)
				}
				body := fmt.Appendf(nil, `{"id":%q,"stack":"delivery","kind":"update","suffix":"zzzzzz","digest":"/next"}`, told.ID)
				left := errors.Join(os.MkdirAll(b.paths.Generation("delivery", 2), 0o711),
					b.store.KeepRequest(t.Context(), appliance.Request{Plan: "stack-update", Key: "delivery", Body: body}))
				if left != nil {
					t.Fatal(left)
				}
				b.stop()
				time.Sleep(time.Hour)
				b.edge.set(func() { b.edge.inFlight = nil })
				b.boot()
				time.Sleep(time.Minute)
				b.serving()
				now, _, err := b.store.Change(t.Context(), told.ID)
				if err != nil || !reflect.DeepEqual(now, told) {
					t.Errorf("told as %+v, was %+v; %v", now, told, err)
				}
				if open, err := b.store.Requests(t.Context()); err != nil || len(open) != 0 {
					t.Errorf("%+v, %v", open, err)
				}
				if _, err := os.Stat(b.paths.Generation("delivery", 2)); (err == nil) != (told.Outcome == appliance.Committed) {
					t.Error("what was made for the new release:", err)
				}
			})
		})
	}
}
