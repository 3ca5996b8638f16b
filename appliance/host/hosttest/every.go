// SPDX-License-Identifier: AGPL-3.0-or-later

package hosttest

import (
	"os"
	"reflect"
	"testing"

	"rochdale/appliance/host"
)

// fewest is how many states the smallest change has, a file that is removed; fewer
// mean that the writing went past the recorder.
const fewest = 12

// EveryCrash lets write change what lies below root, and shows look every state in
// which a power cut could have left it, each laid out below a root of its own. What
// was there before counts as durable.
func EveryCrash(t *testing.T, root string, write func(host.Files) error, look func(c Crash, root string)) {
	t.Helper()
	rec, err := NewRecorder(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(host.Files{Disk: rec}); err != nil {
		t.Fatal(err)
	}
	states := 0
	for c := range rec.Crashes() {
		states++
		after := t.TempDir()
		if err := c.Lay(root, after); err != nil {
			t.Fatal(err)
		}
		look(c, after)
		if t.Failed() {
			t.Fatalf("that was %v", c.Label)
		}
		if err := os.RemoveAll(after); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d states", states)
	if states < fewest {
		t.Errorf("only %d states were tried", states)
	}
}

// Value is something that a room keeps in files below a root.
type Value[T any] struct {
	// Read gives it; where nothing was written yet, what stands for nothing.
	Read  func(root string) (T, error)
	Write func(root string, files host.Files) error
}

// OldOrNew wants, in every state in which a power cut could have left the writing,
// the value of before or the one of after, and the latter once the writing has
// returned. Whatever was left, the same writing must then go through.
func (v Value[T]) OldOrNew(t *testing.T, root string) {
	t.Helper()
	before, err := v.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	var after T
	seen := map[bool]int{}
	EveryCrash(t, root, func(files host.Files) error {
		if err := v.Write(root, files); err != nil {
			return err
		}
		after, err = v.Read(root)
		return err
	}, func(c Crash, root string) {
		t.Helper()
		got, err := v.Read(root)
		isNew := reflect.DeepEqual(got, after)
		seen[isNew]++
		if err != nil || !isNew && (c.Whole || !reflect.DeepEqual(got, before)) {
			t.Errorf("it is %+v, %v; it was %+v and became %+v", got, err, before, after)
		}
		if err := v.Write(root, host.NewFiles()); err != nil {
			t.Errorf("written again: %v", err)
		}
		if _, err := v.Read(root); err != nil {
			t.Errorf("after it was written again: %v", err)
		}
	})
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("the new value in %d states and the old one in %d", seen[true], seen[false])
	}
}
