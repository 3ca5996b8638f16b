// SPDX-License-Identifier: AGPL-3.0-or-later

package host_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"rochdale/appliance/host"
)

func TestStreamReplacesWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	files := host.NewFiles()
	long := bytes.Repeat([]byte("0123456789"), 250_000)
	for _, content := range [][]byte{nil, []byte("short"), long} {
		if err := files.Stream(path, iotest.HalfReader(bytes.NewReader(content)), 0o755); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, content, 0o755)
	}
	for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("boom")} {
		cut := io.MultiReader(strings.NewReader("new"), iotest.ErrReader(cause))
		if err := files.Stream(path, cut, 0o755); !errors.Is(err, cause) {
			t.Fatalf("got %v, want %v", err, cause)
		}
		wantFile(t, path, long, 0o755)
	}
	wantNames(t, filepath.Dir(path), "program")
}

func TestFolderAppearsWholeOrNotAtAll(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "bundle")
	files := host.NewFiles()
	err := files.Folder(path, func(add func(string, io.Reader) error) error {
		return errors.Join(add("a", strings.NewReader("one")), add("deep/er/b", strings.NewReader("two")))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(path, "deep/er/b"), []byte("two"), 0o644)

	boom := errors.New("boom")
	err = files.Folder(path, func(add func(string, io.Reader) error) error {
		return errors.Join(add("c", strings.NewReader("three")), boom)
	})
	if !errors.Is(err, boom) {
		t.Fatalf("got %v, want %v", err, boom)
	}
	wantFile(t, filepath.Join(path, "a"), []byte("one"), 0o644)
	wantNames(t, parent, "bundle")

	if err := files.Folder(path, func(add func(string, io.Reader) error) error {
		return add("new", strings.NewReader("four"))
	}); err != nil {
		t.Fatal(err)
	}
	wantNames(t, path, "new")
}

func TestFolderRefusesForeignNames(t *testing.T) {
	parent := t.TempDir()
	for _, name := range []string{"../out", "/etc/x", "", "a/../../b", "a\x00b"} {
		err := host.NewFiles().Folder(filepath.Join(parent, "bundle"), func(add func(string, io.Reader) error) error {
			return add(name, strings.NewReader("x"))
		})
		if err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
	wantNames(t, parent)
}

func wantFile(t *testing.T, path string, want []byte, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || info.Mode() != mode {
		t.Fatalf("%s: %d bytes, mode %v; want %d bytes, mode %v", path, len(got), info.Mode(), len(want), mode)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
}
