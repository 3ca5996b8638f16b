// SPDX-License-Identifier: AGPL-3.0-or-later

// Package hosttest helps tests of code that writes to disks: [Recorder] is a
// disk that notes every call, and gives every state in which a power cut could
// have left it.
//
// It imports host only and is for tests. It must never be part of a product.
package hosttest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"rochdale/appliance/host"
)

// Recorder passes every call on to the real disk and notes it. Paths outside
// Root are refused, so that a test can not write elsewhere.
type Recorder struct {
	Root  string
	disk  host.Disk
	start map[string]*node // durable before the first call, by path
	live  map[string]*node // as it is now
	log   []op
}

var _ host.Disk = (*Recorder)(nil)

// NewRecorder records what happens under root, which exists and whose content
// of now counts as durable.
func NewRecorder(root string) (*Recorder, error) {
	r := &Recorder{Root: filepath.Clean(root), disk: host.OS{}, start: map[string]*node{}}
	if err := r.take(); err != nil {
		return nil, err
	}
	r.live = maps.Clone(r.start)
	return r, nil
}

// node is a file, a folder or a link, whatever names it has.
type node struct {
	dir    bool
	target string // of a link
	data   []byte
	mode   fs.FileMode
}

type kind int

const (
	added      kind = iota // a name for a new node
	renamed                // a name moves
	removed                // a name goes
	syncedFile             // the content of the node is durable
	syncedDir              // the names in the folder are durable
	syncedAll              // everything is
)

// op is one call that changed the disk or made a change durable.
type op struct {
	kind     kind
	path, to string
	node     *node
}

// take notes what is there before the first call, as durable.
func (r *Recorder) take() error {
	return filepath.WalkDir(r.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == r.Root {
			return err
		}
		r.start[path], err = read(path, d)
		return err
	})
}

func read(path string, d fs.DirEntry) (*node, error) {
	info, err := d.Info()
	if err != nil {
		return nil, err
	}
	n := &node{dir: d.IsDir(), mode: info.Mode()}
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		n.target, err = os.Readlink(path)
	case !d.IsDir():
		n.data, err = os.ReadFile(path)
	}
	return n, err
}

// Create implements [host.Disk].
func (r *Recorder) Create(path string, data io.Reader, a host.Attr) error {
	content, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	return r.do(op{kind: added, path: path, node: &node{data: content, mode: a.Mode}}, func() error {
		return r.disk.Create(path, bytes.NewReader(content), a)
	})
}

// SyncFile implements [host.Disk].
func (r *Recorder) SyncFile(path string) error {
	return r.do(op{kind: syncedFile, path: path, node: r.live[path]}, func() error { return r.disk.SyncFile(path) })
}

// Rename implements [host.Disk].
func (r *Recorder) Rename(from, to string) error {
	return r.do(op{kind: renamed, path: from, to: to, node: r.live[from]}, func() error { return r.disk.Rename(from, to) })
}

// SyncDir implements [host.Disk]. Syncing the folder above Root is noted and
// means nothing to what is inside.
func (r *Recorder) SyncDir(dir string) error {
	r.log = append(r.log, op{kind: syncedDir, path: filepath.Clean(dir)})
	return r.disk.SyncDir(dir)
}

// SyncAll implements [host.Disk].
func (r *Recorder) SyncAll(path string) error {
	return r.do(op{kind: syncedAll, path: path}, func() error { return r.disk.SyncAll(path) })
}

// Remove implements [host.Disk].
func (r *Recorder) Remove(path string) error {
	return r.do(op{kind: removed, path: path}, func() error { return r.disk.Remove(path) })
}

// Mkdir implements [host.Disk].
func (r *Recorder) Mkdir(path string, a host.Attr) error {
	return r.do(op{kind: added, path: path, node: &node{dir: true, mode: a.Mode}}, func() error { return r.disk.Mkdir(path, a) })
}

// Symlink implements [host.Disk].
func (r *Recorder) Symlink(target, path string) error {
	return r.do(op{kind: added, path: path, node: &node{target: target}}, func() error { return r.disk.Symlink(target, path) })
}

// do runs the call and notes it when it succeeded.
func (r *Recorder) do(o op, call func() error) error {
	o.path = filepath.Clean(o.path)
	inside, err := filepath.Rel(r.Root, o.path)
	if err != nil || !filepath.IsLocal(inside) {
		return fmt.Errorf("%s is outside of the recorded folder %s", o.path, r.Root)
	}
	if err := call(); err != nil {
		return err
	}
	o.apply(r.live)
	r.log = append(r.log, o)
	return nil
}

// apply does to names what the call did.
func (o op) apply(names map[string]*node) {
	switch o.kind {
	case added:
		names[o.path] = o.node
	case removed:
		delete(names, o.path)
	case renamed:
		moveBelow(names, o.path, o.to)
		delete(names, o.path)
		names[o.to] = o.node
	case syncedFile, syncedDir, syncedAll:
	}
}

// moveBelow moves what is in a folder that is renamed.
func moveBelow(names map[string]*node, from, to string) {
	for path, n := range maps.Clone(names) {
		if rest, ok := strings.CutPrefix(path, from+"/"); ok {
			delete(names, path)
			names[filepath.Join(to, rest)] = n
		}
	}
}
