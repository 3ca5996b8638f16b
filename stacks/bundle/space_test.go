// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestSpaceIsCheckedFirst gives each time one byte less or just what is needed.
func TestSpaceIsCheckedFirst(t *testing.T) {
	packed, digest := build(t)
	a, err := readArchive(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	needs := a.needs()
	a.close()
	images := int64(0)
	for _, e := range a.index {
		if strings.HasSuffix(e.path, "/"+MachineArch()+".tar") {
			images += e.size
		}
	}
	if small := needs - margin - 3*images; images == 0 || small <= 0 || small > 64<<10 {
		t.Fatalf("needs %d bytes with images of %d", needs, images)
	}
	store := newStore(t)
	free := needs - 1
	store.Free = func(dir string) (int64, error) {
		if dir != store.Dir {
			t.Errorf("asked for the disk of %s", dir)
		}
		return free, nil
	}
	store.Disk = noDisk{t}
	_, err = store.Unpack(t.Context(), bytes.NewReader(packed), digest)
	wantRefused(t, err, "space")
	if !strings.Contains(err.Error(), "MiB") {
		t.Errorf("no sizes in %q", err)
	}
	store.Disk, free = &plainDisk{}, needs
	if _, err := store.Unpack(t.Context(), bytes.NewReader(packed), digest); err != nil {
		t.Fatal(err)
	}
	free = 0 // it is there already
	if _, err := store.Unpack(t.Context(), bytes.NewReader(packed), digest); err != nil {
		t.Fatal(err)
	}
	store = Store{Dir: store.Dir + "/none", Disk: noDisk{t}}
	_, err = store.Unpack(t.Context(), bytes.NewReader(packed), digest)
	wantRefused(t, err, "write")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cause is gone: %v", err)
	}
}

// noDisk must not be written to.
type noDisk struct{ t *testing.T }

func (d noDisk) Folder(path string, _ func(func(string, io.Reader) error) error) error {
	d.t.Errorf("%s was begun", path)
	return nil
}

func (d noDisk) RemoveFolder(string) error { return nil }

func TestTooMuchTogether(t *testing.T) {
	x := index{{path: lockName}, {path: "stack/compose.yaml"}, {path: "stack/stack.yaml"}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		x = append(x, entry{path: imagesDir + name + "/amd64.tar", size: maxImage})
	}
	wantRefused(t, x.valid(), "size")
	if err := x[:7].valid(); err != nil {
		t.Errorf("four large images: %v", err)
	}
}

// endless gives the same bytes for ever, and counts them.
type endless struct {
	bytes []byte
	given int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.bytes[(e.given+int64(n))%int64(len(e.bytes)):])
	}
	e.given += int64(n)
	return n, nil
}

// TestEndlessArchives stops archives that go on for ever, or grow without end,
// within what their index announces.
func TestEndlessArchives(t *testing.T) {
	packed, _ := build(t)
	var zeros bytes.Buffer
	w, err := zstd.NewWriter(&zeros, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(w, io.LimitReader(&endless{bytes: make([]byte, 1<<16)}, 64<<20))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	skipped := append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 1, 0}, make([]byte, 1<<16)...) // a frame that means nothing
	for name, c := range map[string]struct{ first, rest []byte }{
		"frames that mean nothing":       {nil, skipped},
		"such frames behind a bundle":    {packed, skipped},
		"more and more bundles":          {nil, packed},
		"zeros":                          {nil, zeros.Bytes()},
		"zeros behind a bundle":          {packed, zeros.Bytes()},
		"bytes without any meaning":      {nil, []byte("rubbish")},
		"such bytes behind a bundle":     {packed, []byte("rubbish")},
		"a frame header again and again": {nil, packed[:6]},
	} {
		t.Run(name, func(t *testing.T) {
			rest := &endless{bytes: c.rest}
			store := newStore(t)
			if _, err := store.Unpack(t.Context(), io.MultiReader(bytes.NewReader(c.first), rest), ""); err == nil {
				t.Fatal("an archive without an end was taken")
			}
			if rest.given > 3*slack {
				t.Errorf("%d bytes were read", rest.given)
			}
			if left, err := os.ReadDir(store.Dir); err != nil || len(left) > 0 {
				t.Fatalf("left %v, %v", left, err)
			}
		})
	}
}
