// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/host/hosttest"
	"rochdale/appliance/step"
)

// after gives the same machine with another root and disk.
func (d Deps) after(root string, files host.Files) Deps {
	d.Paths, d.Files = appliance.Paths{Root: root}, files
	return d
}

// kept is a value that an installation keeps.
func kept[T any](d Deps, read func(Deps) (T, error), write func(Deps) error) hosttest.Value[T] {
	return hosttest.Value[T]{
		Read:  func(root string) (T, error) { return read(d.after(root, host.NewFiles())) },
		Write: func(root string, files host.Files) error { return write(d.after(root, files)) },
	}
}

// text reads a file that may not be there.
func text(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(data), err
}

// TestRecordSurvivesPowerCuts: whatever is cut, there is the old record or the
// new one, and it can be read.
func TestRecordSurvivesPowerCuts(t *testing.T) {
	i, d := bench(t)
	if err := os.MkdirAll(d.Paths.ConfigDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	read := func(d Deps) (r Record, err error) {
		one, err := ReadRecord(d.Paths)
		if one != nil {
			r = *one
		}
		return r, err
	}
	kept(d, read, func(d Deps) error {
		one := *i
		one.Deps = d
		return one.keepRecord()
	}).OldOrNew(t, d.Paths.Root)
	kept(d, read, func(d Deps) error { return amend(d.Paths, d.Files, func(r *Record) { r.Swap = true }) }).OldOrNew(t, d.Paths.Root)
}

// TestRemovalJournalSurvivesPowerCuts: every event but the last is there, and the
// last is whole or not; closed, the journal is there or gone.
func TestRemovalJournalSurvivesPowerCuts(t *testing.T) {
	_, d := bench(t)
	read := func(d Deps) (steps []string, err error) {
		all, err := text(removalPath(d))
		for line := range strings.Lines(all) {
			var e step.Event
			err = errors.Join(err, json.Unmarshal([]byte(line), &e))
			if len(steps) == 0 || steps[len(steps)-1] != e.Step { // one that was kept twice is no other one
				steps = append(steps, e.Step)
			}
		}
		return steps, err
	}
	for _, id := range []string{"one", "two"} {
		kept(d, read, func(d Deps) error {
			return NewRemovalJournal(d).Record(t.Context(), step.Event{Job: "01JOB", Plan: "uninstall", Step: id, Kind: step.Done})
		}).OldOrNew(t, d.Paths.Root)
	}
	kept(d, read, func(d Deps) error {
		return NewRemovalJournal(d).Close(t.Context(), "01JOB", step.Succeeded, now())
	}).OldOrNew(t, d.Paths.Root)
}

// TestPutSurvivesPowerCuts: a file of ours is as wanted before or as wanted now.
func TestPutSurvivesPowerCuts(t *testing.T) {
	_, d := bench(t)
	path := func(d Deps) string { return d.at("etc/systemd/system/one.service.d/rochdale.conf") }
	read := func(d Deps) (string, error) { return text(path(d)) }
	for _, content := range []string{"first", "second, and longer"} {
		kept(d, read, func(d Deps) error { return d.put(public(path(d), []byte(content))) }).OldOrNew(t, d.Paths.Root)
	}
}

// TestEngineConfigurationSurvivesPowerCuts: an uninstall gives it back whole.
func TestEngineConfigurationSurvivesPowerCuts(t *testing.T) {
	before := `{"dns": ["9.9.9.9"]}`
	for name, record := range map[string]Record{"theirs comes back": {DockerConfig: &before}, "ours goes": {}} {
		t.Run(name, func(t *testing.T) {
			_, d := bench(t)
			path := func(d Deps) string { return d.at("etc/docker/daemon.json") }
			var theirs []byte
			if record.DockerConfig != nil {
				theirs = []byte(before)
			}
			ours, err := dockerConfig(theirs)
			if err := errors.Join(err, d.put(public(path(d), ours))); err != nil {
				t.Fatal(err)
			}
			kept(d, func(d Deps) (string, error) { return text(path(d)) }, func(d Deps) error {
				return (&uninstall{Deps: d, record: record}).restoreConfig(path(d))
			}).OldOrNew(t, d.Paths.Root)
		})
	}
}

// TestProgramSurvivesPowerCuts: a link leads to a whole program or there is none,
// and the step knows whether it has to be done again.
func TestProgramSurvivesPowerCuts(t *testing.T) {
	i, d := bench(t)
	hosttest.EveryCrash(t, d.Paths.Root, func(files host.Files) error {
		one := *i
		one.Files = files
		s, _ := one.program()
		return s.Do(t.Context(), func(string) {})
	}, func(c hosttest.Crash, root string) {
		one := *i
		one.Deps = d.after(root, host.NewFiles())
		for _, l := range unitLinks() {
			program, err := text(one.link(l.name)) // through the link
			if _, linkErr := os.Readlink(one.link(l.name)); err != nil || linkErr == nil && len(program) != 7000 {
				t.Errorf("%s leads to %d bytes, %v", l.name, len(program), err)
			}
		}
		s, _ := one.program()
		if done, err := s.Done(t.Context()); err != nil || c.Whole && !done {
			t.Errorf("done %v, %v", done, err)
		}
		run(t, s)
	})
}

// lostBox is a recovery on a machine with this root and disk.
func lostBox(t *testing.T, d Deps, l Legacy) *recovery {
	t.Helper()
	f := good()
	f.Program.Digest = strings.Repeat("ab", 32)
	r, err := newRecovery(RecoverOptions(appliance.Config{}, asked()), f, d, l)
	if err != nil {
		t.Fatal(err)
	}
	r.rescue = newBackups(d.Paths)
	r.edgeOwner = func() (host.Attr, error) { return ours(0), nil }
	return r
}

func do(t *testing.T, s step.Step) error {
	t.Helper()
	return s.Do(t.Context(), func(string) {})
}

// TestKeysSurvivePowerCuts: what the pages opened is kept before any key is written,
// each key is whole or not there, and known hosts are those of before or all.
func TestKeysSurvivePowerCuts(t *testing.T) {
	d, _ := bareMachine(t)
	l := exampleLegacy()
	hosts := filepath.Join(d.Paths.Root, "root/.ssh/known_hosts")
	const known = "old.example ssh-rsa CCCC\n"
	if err := errors.Join(os.MkdirAll(filepath.Dir(hosts), 0o700), os.WriteFile(hosts, []byte(known), 0o600)); err != nil {
		t.Fatal(err)
	}
	write := func(d Deps) error { return do(t, first(lostBox(t, d, l).keys())) }
	hosttest.EveryCrash(t, d.Paths.Root, func(files host.Files) error {
		return write(d.after(d.Paths.Root, files))
	}, func(c hosttest.Crash, root string) {
		after := d.after(root, host.NewFiles())
		kit, err := ReadLegacy(after.Paths)
		if err != nil {
			t.Fatal(err)
		}
		for path, content := range l.Files {
			got, err := text(filepath.Join(root, path))
			want, before := string(content), ""
			if strings.HasSuffix(path, "known_hosts") {
				want, before = known+want, known
			}
			if err != nil || got != want && (c.Whole || got != before) || got != before && kit == nil {
				t.Errorf("%s is %q, %v, the kit is kept: %v", path, got, err, kit != nil)
			}
		}
		if err := write(after); err != nil {
			t.Error(err)
		}
	})
}

// TestAnotherKitSurvivesPowerCuts: what was chosen and fetched with one kit is never
// there beside another kit, or beside none.
func TestAnotherKitSurvivesPowerCuts(t *testing.T) {
	d, _ := bareMachine(t)
	old, better := exampleLegacy(), exampleLegacy()
	old.Kit, better.Kit = "old", "better"
	r := lostBox(t, d, old)
	fetched := wanted{r.laid(wholeFile), nil, ours(privateFile)}
	if err := errors.Join(do(t, first(r.keys())), do(t, first(r.find())), d.put(fetched)); err != nil {
		t.Fatal(err)
	}
	write := func(d Deps) error { return do(t, first(lostBox(t, d, better).keys())) }
	hosttest.EveryCrash(t, d.Paths.Root, func(files host.Files) error {
		return write(d.after(d.Paths.Root, files))
	}, func(c hosttest.Crash, root string) {
		after := d.after(root, host.NewFiles())
		kit, err := ReadLegacy(after.Paths)
		of := ""
		if kit != nil {
			of = kit.Kit
		}
		r := lostBox(t, after, better)
		_, chosen, pointErr := r.point()
		fetched, fetchErr := first(r.fetch()).Done(t.Context())
		if err := errors.Join(err, pointErr, fetchErr); err != nil || chosen != (of == "old") || fetched != chosen || c.Whole && of != "better" {
			t.Errorf("kit %q, a snapshot is chosen: %v, fetched: %v, %v", of, chosen, fetched, err)
		}
		if err := write(after); err != nil {
			t.Error(err)
		}
	})
}

// TestChoiceSurvivesPowerCuts: a snapshot is chosen, or it is chosen again.
func TestChoiceSurvivesPowerCuts(t *testing.T) {
	d, _ := bareMachine(t)
	kept(d, func(d Deps) (appliance.RescuePoint, error) {
		p, _, err := lostBox(t, d, exampleLegacy()).point()
		return p, err
	}, func(d Deps) error { return do(t, first(lostBox(t, d, exampleLegacy()).find())) }).OldOrNew(t, d.Paths.Root)
}

// hasty lays out what it has without waiting for the disk.
type hasty struct {
	Rescue
	disk host.Disk
}

func (h hasty) Fetch(_ context.Context, _ appliance.RescuePoint, into string) error {
	return errors.Join(h.disk.Mkdir(into, ours(privateDir)), h.disk.Create(filepath.Join(into, "state.db"), strings.NewReader("a memory"), ours(privateFile)))
}

// TestFetchedBoxSurvivesPowerCuts: what is marked as whole is whole, although who
// fetched it did not wait for the disk.
func TestFetchedBoxSurvivesPowerCuts(t *testing.T) {
	d, _ := bareMachine(t)
	if err := do(t, first(lostBox(t, d, exampleLegacy()).find())); err != nil {
		t.Fatal(err)
	}
	hosttest.EveryCrash(t, d.Paths.Root, func(files host.Files) error {
		r := lostBox(t, d.after(d.Paths.Root, files), exampleLegacy())
		r.rescue = hasty{r.rescue, files.Disk}
		return do(t, first(r.fetch()))
	}, func(c hosttest.Crash, root string) {
		r := lostBox(t, d.after(root, host.NewFiles()), exampleLegacy())
		done, err := first(r.fetch()).Done(t.Context())
		memory, readErr := text(r.laid("state.db"))
		if err := errors.Join(err, readErr); err != nil || done && memory != "a memory" || c.Whole && !done {
			t.Errorf("whole: %v, with %q, %v", done, memory, err)
		}
	})
}

// TestBroughtFilesSurvivePowerCuts: configuration and certificates of the lost
// machine are there whole, or are brought again. What was brought is never taken
// for what somebody had there.
func TestBroughtFilesSurvivePowerCuts(t *testing.T) {
	d, _ := bareMachine(t)
	r := lostBox(t, d, exampleLegacy())
	if err := errors.Join(do(t, first(r.keys())), do(t, first(r.find())), do(t, first(r.fetch()))); err != nil {
		t.Fatal(err)
	}
	bring := func(d Deps) error {
		r := lostBox(t, d, exampleLegacy())
		return errors.Join(do(t, first(r.box())), do(t, first(r.certificates())))
	}
	brought := func(p appliance.Paths) map[string]string {
		return map[string]string{p.FirewallFolder() + "/own.nft": "rules", p.Edge() + "/caddy/certificates/ca/rides.example.crt": "a certificate"}
	}
	hosttest.EveryCrash(t, d.Paths.Root, func(files host.Files) error {
		return bring(d.after(d.Paths.Root, files))
	}, func(c hosttest.Crash, root string) {
		after := d.after(root, host.NewFiles())
		for path, want := range brought(after.Paths) {
			if got, err := text(path); err != nil || got != want && (c.Whole || got != "") {
				t.Errorf("%s is %q, %v", path, got, err)
			}
		}
		// What was fetched lies below the path that it had.
		if err := os.Rename(filepath.Join(after.Paths.Rescue(), "box", d.Paths.Root), filepath.Join(root, "fetched")); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(after.Paths.Rescue(), "box", root)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.Rename(filepath.Join(root, "fetched"), to)); err != nil {
			t.Fatal(err)
		}
		if err := bring(after); err != nil {
			t.Error(err)
		}
		for path, want := range brought(after.Paths) {
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, []byte(want)) {
				t.Errorf("brought again, %s is %q, %v", path, got, err)
			}
		}
		if record, err := appliance.ReadRecovery(after.Paths); err != nil || record.Kit.Serial != 7 {
			t.Errorf("%+v, %v", record, err)
		}
	})
}

// first leaves out whether the step is needed.
func first(s step.Step, _ bool) step.Step { return s }
