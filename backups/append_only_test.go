// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rochdale/backups"
)

// adding gives a copy of the prepared repository behind a server that lets nothing be
// deleted; here is its folder.
func adding(t *testing.T) (d *backups.Door, here, there backups.Repository) {
	t.Helper()
	d, here = ground(t)
	address := freeAddress(t)
	serve(t, "--addr", address, "--append-only", filepath.Dir(here.URL))
	there = here
	there.URL, there.EnvFile, there.AppendOnly = "rest:http://"+address+"/repository/", filepath.Join(t.TempDir(), "env"), true
	write(t, there.EnvFile, "RESTIC_REST_USERNAME=coop\nRESTIC_REST_PASSWORD=secret\n")
	return d, here, there
}

// TestHealByAdding: where nothing may be deleted a repair adds what no index lists, and
// saves everything anew; what needs more than that is told, and stays as it is.
func TestHealByAdding(t *testing.T) {
	t.Parallel()
	prepare(t)
	lost := func(folder string) func(*testing.T, backups.Repository) {
		return func(t *testing.T, here backups.Repository) {
			t.Helper()
			if err := os.Remove(files(t, here, folder)[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		fault   func(*testing.T, backups.Repository)
		refused bool // to remove old indexes
		healed  bool
	}{
		"lost index": {lost("index"), true, true},
		"lost pack and indexes": {func(t *testing.T, here backups.Repository) {
			lost("data")(t, here)
			for range files(t, here, "index") {
				lost("index")(t, here)
			}
		}, false, true},
		"lost pack": {lost("data"), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, here, there := adding(t)
			c.fault(t, here)
			report, err := d.Check(t.Context(), there, backups.Part{N: 1, T: 1})
			wants(t, err, "backups.repository-damaged")
			saved := false
			_, err = d.Heal(t.Context(), there, report, func(ctx context.Context) error {
				b := wholeBackup()
				b.Force = true
				_, err := d.Backup(ctx, there, b)
				saved = err == nil
				return err
			})
			if c.refused {
				wants(t, err, "backups.refused")
			} else if err != nil {
				t.Error(err)
			}
			if !saved {
				t.Error("nothing was saved anew")
			}
			if c.healed {
				healthy(t, d, there)
				restoreIdentical(t, d, there, ready.second, source())
				return
			}
			if list, err := d.Snapshots(t.Context(), there); err != nil || len(list) != 3 {
				t.Errorf("left %v, %v", list, err)
			}
		})
	}
}

// partBackup is one of which a source can not be read.
func partBackup() backups.Backup {
	b := wholeBackup()
	b.Paths = append(b.Paths, "/no/such/place")
	return b
}

// TestIncompleteStaysAside: where nothing may be deleted the first of an incomplete
// snapshot stays, with the tags of a good one, and nobody is given it.
func TestIncompleteStaysAside(t *testing.T) {
	t.Parallel()
	d, here, there := adding(t)
	b := partBackup()
	saved, err := d.Backup(t.Context(), there, b)
	if p := wants(t, err, "backups.incomplete"); p.Args["count"] != "1" || saved.SnapshotID != "" {
		t.Errorf("args %v, saved %+v", p.Args, saved)
	}
	if n := len(files(t, here, "snapshots")); n != 4 { // both are there
		t.Errorf("%d snapshots", n)
	}
	for want, tags := range map[int][]string{2: b.Tags, 3: nil, 1: {backups.Incomplete}} {
		if list, err := d.Snapshots(t.Context(), there, tags...); err != nil || len(list) != want {
			t.Errorf("with tags %v: %v, %v, want %d", tags, list, err, want)
		}
	}
	list, err := d.Snapshots(t.Context(), there, b.Tags...)
	if err != nil || list[0].ID != ready.second {
		t.Errorf("the newest good one: %v, %v", list, err)
	}
	// Whoever may delete there takes it away, and counts it for nothing.
	f, err := d.Forget(t.Context(), here, backups.Retention{Last: 2}, b.Tags...)
	if err != nil || f.Kept != 2 || len(f.Removed) > 0 || len(files(t, here, "snapshots")) != 3 {
		t.Errorf("forgot %+v, %v", f, err)
	}
}

// TestForgedIncomplete: a snapshot that only names another one's id is not its copy, or
// whoever may add to a repository could have good ones forgotten.
func TestForgedIncomplete(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	b := wholeBackup()
	list, err := d.Snapshots(t.Context(), r, b.Tags...)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	d.Machine = forged{d.Machine, list[0].ID, false}
	if now, err := d.Snapshots(t.Context(), r, b.Tags...); err != nil || len(now) != 2 {
		t.Errorf("%v, %v", now, err)
	}
	if _, err := d.Forget(t.Context(), r, backups.Retention{Last: 2}, b.Tags...); err != nil || len(files(t, r, "snapshots")) != 2 {
		t.Errorf("%v, %v", files(t, r, "snapshots"), err)
	}
}

// TestForgedBesideTheCopy: nor does it take the place of the true copy.
func TestForgedBesideTheCopy(t *testing.T) {
	t.Parallel()
	d, here, there := adding(t)
	b := partBackup()
	_, err := d.Backup(t.Context(), there, b)
	wants(t, err, "backups.incomplete")
	told, err := d.Snapshots(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	hidden := slices.DeleteFunc(files(t, here, "snapshots"), func(file string) bool {
		return slices.ContainsFunc(told, func(s backups.Snapshot) bool { return s.ID == filepath.Base(file) })
	})
	if len(hidden) != 1 {
		t.Fatal(hidden, told)
	}
	machine := d.Machine
	for _, last := range []bool{false, true} {
		d.Machine = forged{machine, filepath.Base(hidden[0]), last}
		if list, err := d.Snapshots(t.Context(), there, b.Tags...); err != nil || len(list) != 2 {
			t.Errorf("%v: %v, %v", last, list, err)
		}
	}
}

// forged is a machine on which a list has one snapshot more, which says that it is the
// incomplete copy of another one.
type forged struct {
	backups.Machine
	original string
	last     bool // of the list
}

// Restic implements [backups.Machine].
func (m forged) Restic(ctx context.Context, c backups.Call) (backups.Ended, error) {
	e, err := m.Machine.Restic(ctx, c)
	list := bytes.Trim(bytes.TrimSpace(e.Stdout), "[]")
	if len(list) == 0 || !slices.Contains(c.Args, "snapshots") {
		return e, err
	}
	more := []byte(`{"id":"` + strings.Repeat("f", 64) + `","time":"2026-11-01T00:00:00Z","tags":["incomplete"],"original":"` + m.original + `"}`)
	if m.last {
		list, more = more, list
	}
	e.Stdout = slices.Concat([]byte("["), more, []byte(","), list, []byte("]"))
	return e, err
}

// TestIncompleteWhileEnding: a call that is to end when restic just ended by itself, or
// whose end nobody saw, has no code. What was printed says that sources could not be
// read, and the snapshot is set aside.
func TestIncompleteWhileEnding(t *testing.T) {
	t.Parallel()
	for _, seen := range []error{context.Canceled, errors.New("nobody saw it")} {
		d, r := ground(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m := endsLate{d.Machine, func() {}, seen}
		if errors.Is(seen, context.Canceled) {
			m.end = cancel
		}
		d.Machine = m
		b := partBackup()
		_, err := d.Backup(ctx, r, b)
		wants(t, err, "backups.incomplete")
		if list, err := d.Snapshots(t.Context(), r, b.Tags...); err != nil || len(list) != 2 {
			t.Errorf("%v: %v, %v", seen, list, err)
		}
	}
}

// endsLate is a machine that is told to end when a backup has just ended, or does not
// see that it did.
type endsLate struct {
	backups.Machine
	end context.CancelFunc
	err error
}

// Restic implements [backups.Machine].
func (m endsLate) Restic(ctx context.Context, c backups.Call) (backups.Ended, error) {
	e, err := m.Machine.Restic(ctx, c)
	if !slices.Contains(c.Args, "backup") {
		return e, err
	}
	m.end()
	var lines [][]byte
	for line := range bytes.Lines(e.Stderr) { // it had not said yet how it ends
		if !bytes.Contains(line, []byte(`"exit_error"`)) {
			lines = append(lines, line)
		}
	}
	return backups.Ended{Stdout: e.Stdout, Stderr: bytes.Join(lines, nil)}, m.err
}

// TestIncompleteThatCanNotBeMarked passes for a good one, and that is told before
// anything else, with what a person can do.
func TestIncompleteThatCanNotBeMarked(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	d.Machine = noMarks{d.Machine}
	b := partBackup()
	_, err := d.Backup(t.Context(), r, b)
	p := wants(t, err, "backups.not-set-aside")
	if list, err := d.Snapshots(t.Context(), r, b.Tags...); err != nil || len(list) != 3 || list[0].ID[:8] != p.Args["snapshot"] {
		t.Errorf("%v, %v, %v", p.Args, list, err)
	}
	if out, err := exec.Command("/bin/sh", "-c", p.Args["command"]).CombinedOutput(); err != nil {
		t.Errorf("%s: %s", err, out)
	}
	if list, err := d.Snapshots(t.Context(), r, b.Tags...); err != nil || len(list) != 2 {
		t.Errorf("when a person has marked it: %v, %v", list, err)
	}
}

// noMarks is a machine on which the tags of no snapshot can be changed, which restic
// tells of with a line and no code.
type noMarks struct{ backups.Machine }

// Restic implements [backups.Machine].
func (m noMarks) Restic(ctx context.Context, c backups.Call) (backups.Ended, error) {
	if slices.Contains(c.Args, "tag") {
		return backups.Ended{
			Stdout: []byte(`{"message_type":"summary","changed_snapshots":0}` + "\n"),
			Stderr: []byte(`{"message_type":"error","error":{"message":"unable to modify the tags for snapshot ID, ignoring: 500"}}` + "\n"),
		}, nil
	}
	return m.Machine.Restic(ctx, c)
}
