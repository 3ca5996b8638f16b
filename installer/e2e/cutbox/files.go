// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// files writes what the box writes: files that replace others, new folders with
// a file in them, whole folders, links, and removes the ones before.
type files struct {
	*box
	n int64 // the last turn that ended
}

const (
	plainMode  = 0o644
	secretMode = 0o600
)

func (w *files) at(elem ...string) string {
	return filepath.Join(append([]string{home, "files"}, elem...)...)
}

func (w *files) check(context.Context) error {
	names := []string{"plain", "deep", "secret", "whole", "link", "gone", "odd"}
	readers := []func() (int64, error){
		func() (int64, error) { return turnOf(w.at("plain"), "plain", plainMode) },
		w.deep,
		func() (int64, error) { return turnOf(w.at("secret"), "secret", secretMode) },
		w.whole, w.link,
		w.gone, w.last,
	}
	places := make([]place, 0, len(readers))
	for i, read := range readers {
		n, err := read()
		if err != nil {
			return err
		}
		w.found(names[i], n)
		places = append(places, place{names[i], n})
	}
	w.n = places[len(places)-1].turn
	return inOrder(places...)
}

// deep finds the newest of the folders that each turn makes. One that is being
// made may lack its file; the one before it is there then, and no older one.
func (w *files) deep() (newest int64, err error) {
	entries, err := os.ReadDir(w.at("deep"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	oldest := int64(math.MaxInt64)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // being removed
		}
		n, err := numbered(e.Name(), "")
		if err != nil {
			return 0, err
		}
		written, err := turnOf(w.at("deep", e.Name(), "a/b/file"), "deep", plainMode)
		if err != nil {
			return 0, err
		}
		if written != 0 && written != n {
			return 0, fmt.Errorf("folder %d has the file of turn %d", n, written)
		}
		newest, oldest = max(newest, written), min(oldest, n)
	}
	if oldest < newest-1 {
		return 0, fmt.Errorf("folder %d is there beside %d", oldest, newest)
	}
	return newest, nil
}

// whole wants a folder with both of its files, or, in the middle of its
// replacement, none: then the turn is the one that replaced it.
func (w *files) whole() (int64, error) {
	a, err := turnOf(w.at("whole/a"), "a", plainMode)
	if err != nil {
		return 0, err
	}
	b, err := turnOf(w.at("whole/sub/b"), "b", plainMode)
	if err != nil || a != b {
		return 0, errors.Join(fmt.Errorf("the folder has files of the turns %d and %d", a, b), err)
	}
	if _, err := os.Lstat(w.at("whole")); errors.Is(err, fs.ErrNotExist) {
		return w.secretBefore()
	}
	return a, nil
}

// secretBefore is the turn of the whole folder while there is none: that which
// the step before it has not left behind yet.
func (w *files) secretBefore() (int64, error) {
	n, err := turnOf(w.at("secret"), "secret", secretMode)
	return max(n-1, 0), err
}

// link wants a link to lead to a folder that is there.
func (w *files) link() (int64, error) {
	to, err := os.Readlink(w.at("link"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := numbered(to, "deep/")
	if err != nil {
		return 0, err
	}
	written, err := turnOf(w.at("link", "a/b/file"), "deep", plainMode)
	if err == nil && written != n {
		err = fmt.Errorf("the link to %d leads to the file of turn %d", n, written)
	}
	return n, err
}

// gone tells up to which turn the folders of the one before are removed.
func (w *files) gone() (int64, error) {
	n, err := w.link()
	if err != nil || n == 0 {
		return 0, err
	}
	if _, err := os.Lstat(w.at("deep", strconv.FormatInt(n-1, 10))); err == nil {
		return n - 1, nil
	}
	return n, nil
}

// last is the end of a turn. Until the next one comes to it, the odd file is there
// or not as the turn wants it.
func (w *files) last() (int64, error) {
	last, err := turnOf(w.at("last"), "last", plainMode)
	if err != nil {
		return 0, err
	}
	odd, err := turnOf(w.at("odd"), "odd", plainMode)
	if err != nil {
		return 0, err
	}
	gone, err := w.gone()
	quiet := gone == last
	if wanted := last * (last % 2); odd != wanted && (quiet || odd != 0 && odd != last+1) {
		err = errors.Join(err, fmt.Errorf("the odd file is of turn %d after turn %d", odd, last))
	}
	return last, err
}

func (w *files) resume(context.Context) error { return w.files.MkdirAll(w.at("deep"), mine(0o755)) }

func (w *files) turn(context.Context) error {
	n := w.n + 1
	folder := w.at("deep", strconv.FormatInt(n, 10))
	steps := []struct {
		name string
		do   func() error
	}{
		{"plain", func() error { return w.files.Write(w.at("plain"), content("plain", n), mine(plainMode)) }},
		{"deep", func() error {
			if err := w.files.MkdirAll(filepath.Join(folder, "a/b"), mine(0o755)); err != nil {
				return err
			}
			return w.files.Write(filepath.Join(folder, "a/b/file"), content("deep", n), mine(plainMode))
		}},
		{"secret", func() error {
			return w.files.WriteFrom(w.at("secret"), bytes.NewReader(content("secret", n)), mine(secretMode))
		}},
		{"whole", func() error {
			// A folder that is replaced is not there for a moment; so it is not
			// done again when a turn is.
			if done, err := w.whole(); err != nil || done == n {
				return err
			}
			return w.files.Folder(w.at("whole"), func(add func(string, io.Reader) error) error {
				return errors.Join(add("a", bytes.NewReader(content("a", n))), add("sub/b", bytes.NewReader(content("b", n))))
			})
		}},
		{"link", func() error { return w.files.Symlink(fmt.Sprintf("deep/%d", n), w.at("link")) }},
		{"gone", func() error { return w.files.RemoveFolder(w.at("deep", strconv.FormatInt(n-1, 10))) }},
		{"odd", func() error { return w.odd(n) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return err
		}
		w.ack(s.name, n)
	}
	w.n = n
	return nil
}

// odd ends a turn: in every second one a file is there, in the others it is not.
func (w *files) odd(n int64) error {
	if n%2 == 0 {
		if err := w.files.Remove(w.at("odd")); err != nil {
			return err
		}
	} else if err := w.files.Write(w.at("odd"), content("odd", n), mine(plainMode)); err != nil {
		return err
	}
	return w.files.Write(w.at("last"), content("last", n), mine(plainMode))
}
