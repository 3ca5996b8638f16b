// SPDX-License-Identifier: AGPL-3.0-or-later

package hosttest

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Crash is one state in which a power cut could have left the folder.
type Crash struct {
	// Label says at which call the power went and what was lost.
	Label string
	// Whole is true when every call had returned before the cut.
	Whole bool
	names map[string]*node
	lost  map[*node]bool // files whose content was not made durable
	keep  share
}

// share is how much of a content that was never synced is on the disk.
type share string

const (
	nothing share = "empty"
	half    share = "torn"
	all     share = "whole"
)

// Crashes gives every state: after each call, with what no fsync held back
// there or not there. Names that were not synced are there up to any point, as
// a file system's journal would have it; contents that were not synced are
// whole, torn or empty.
func (r *Recorder) Crashes() iter.Seq[Crash] {
	return func(yield func(Crash) bool) {
		for cut := range len(r.log) + 1 {
			for _, c := range r.crashesAt(cut) {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// crashesAt are the states after the first cut calls.
func (r *Recorder) crashesAt(cut int) []Crash {
	done := r.log[:cut]
	var loose []int // changes of names that no fsync of their folder holds
	for i, o := range done {
		if o.kind < syncedFile && !held(done, i) {
			loose = append(loose, i)
		}
	}
	lost := unsynced(done)
	var list []Crash
	for there := range len(loose) + 1 {
		names := r.names(done, loose[there:])
		for _, keep := range []share{nothing, half, all} {
			list = append(list, Crash{
				Label: fmt.Sprintf("after call %d of %d, %d of %d loose names there, loose contents %s", cut, len(r.log), there, len(loose), keep),
				Whole: cut == len(r.log), names: names, lost: lost, keep: keep,
			})
		}
	}
	return list
}

// names replays the calls without those that the cut undid.
func (r *Recorder) names(done []op, undone []int) map[string]*node {
	names := maps.Clone(r.start)
	for i, o := range done {
		if !slices.Contains(undone, i) {
			o.apply(names)
		}
	}
	return names
}

// held tells whether a later fsync of the folder, or of all, made the change of call i durable.
func held(done []op, i int) bool {
	o := done[i]
	name := o.path
	if o.kind == renamed {
		name = o.to
	}
	return slices.ContainsFunc(done[i+1:], func(later op) bool {
		return later.kind == syncedAll || later.kind == syncedDir && later.path == filepath.Dir(name)
	})
}

// unsynced are the files whose content no fsync made durable.
func unsynced(done []op) map[*node]bool {
	lost := map[*node]bool{}
	for _, o := range done {
		switch o.kind {
		case added:
			lost[o.node] = !o.node.dir && o.node.target == ""
		case syncedFile:
			lost[o.node] = false
		case syncedAll:
			clear(lost)
		}
	}
	return lost
}

// Lay writes the state into an empty folder, and gives paths of the recorded
// one as they are called there.
func (c Crash) Lay(from, to string) error {
	for _, path := range slices.Sorted(maps.Keys(c.names)) {
		inside, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if err := c.layOne(filepath.Join(to, inside), c.names[path]); err != nil {
			return err
		}
	}
	return nil
}

func (c Crash) layOne(path string, n *node) error {
	switch {
	case n.dir:
		return os.MkdirAll(path, fs.ModePerm)
	case n.target != "":
		return os.Symlink(n.target, path)
	}
	err := os.WriteFile(path, c.content(n), n.mode.Perm()|0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its folder never came to be: nobody can reach it
	}
	return err
}

func (c Crash) content(n *node) []byte {
	if !c.lost[n] {
		return n.data
	}
	switch c.keep {
	case nothing:
		return nil
	case half:
		return n.data[:len(n.data)/2]
	default:
		return n.data
	}
}

// String implements fmt.Stringer.
func (c Crash) String() string {
	var b strings.Builder
	b.WriteString(c.Label)
	for _, path := range slices.Sorted(maps.Keys(c.names)) {
		fmt.Fprintf(&b, "\n  %s %q", path, c.content(c.names[path]))
	}
	return b.String()
}
