// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"rochdale/backups"
	"rochdale/backups/shelf"
)

// ground is a place for a shelf, and a way around the shelf to what lies there.
type ground struct {
	place, elsewhere shelf.Place // elsewhere no repository is
	plant            func(t *testing.T, name string, content []byte)
}

// foreign tells whether the place keeps files that are none of a repository.
func (g ground) foreign() bool { return !strings.HasPrefix(g.place.URL, "rest:") }

// keyName is a name as restic gives them to keys.
var keyName = "keys/" + strings.Repeat("0a", 32)

// contract is what every shelf has to do.
func contract(t *testing.T, g ground) {
	t.Helper()
	s := open(t, g.place)
	for name, test := range map[string]func(*testing.T){
		"a new file":        func(t *testing.T) { newFile(t, s) },
		"a missing file":    func(t *testing.T) { missingFile(t, s) },
		"replace":           func(t *testing.T) { replaceFile(t, s) },
		"list":              func(t *testing.T) { listFiles(t, s, g) },
		"names":             func(t *testing.T) { strangeNames(t, s) },
		"too large":         func(t *testing.T) { tooLarge(t, s, g) },
		"interrupted":       func(t *testing.T) { interrupted(t, s) },
		"no repository":     func(t *testing.T) { noRepository(t, open(t, g.elsewhere)) },
		"a kit or a reason": func(t *testing.T) { kitOrReason(t, s, g.foreign()) },
	} {
		t.Run(name, test)
	}
}

func newFile(t *testing.T, s shelf.Shelf) {
	want := []byte("\x00\xff\r\n not text")
	put(t, s, "config", want)
	if got, err := s.Get(t.Context(), "config"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func missingFile(t *testing.T, s shelf.Shelf) {
	_, err := s.Get(t.Context(), "keys/"+strings.Repeat("ff", 32))
	if !errors.Is(err, fs.ErrNotExist) || idOf(err) != "kit.shelf-missing" {
		t.Errorf("got %v", err)
	}
}

func replaceFile(t *testing.T, s shelf.Shelf) {
	for _, content := range []string{"one", "a longer second", "3"} {
		put(t, s, keyName, []byte(content))
		if got, err := s.Get(t.Context(), keyName); err != nil || string(got) != content {
			t.Errorf("got %q, %v, want %q", got, err, content)
		}
	}
}

func listFiles(t *testing.T, s shelf.Shelf, g ground) {
	if got, err := s.List(t.Context(), "data"); err != nil || len(got) != 0 {
		t.Errorf("a folder that is not there: %v, %v", got, err)
	}
	put(t, s, "config", []byte("c"))
	second := "keys/" + strings.Repeat("00", 32)
	put(t, s, keyName, []byte("k"))
	put(t, s, second, []byte("k"))
	if g.foreign() {
		g.plant(t, "keys/Not our name", []byte("x"))
		g.plant(t, "keys/deeper/file", []byte("x"))
	}
	want := []string{strings.TrimPrefix(second, "keys/"), strings.TrimPrefix(keyName, "keys/")}
	if got, err := s.List(t.Context(), "keys"); err != nil || !slices.Equal(got, want) {
		t.Errorf("keys: got %v, %v, want %v", got, err, want)
	}
	if got, err := s.List(t.Context(), ""); err != nil || !slices.Contains(got, "config") || slices.Contains(got, "keys") {
		t.Errorf("the repository's folder: got %v, %v", got, err)
	}
}

func strangeNames(t *testing.T, s shelf.Shelf) {
	for _, name := range []string{"", "..", "../x", "/etc/passwd", "keys/../x", ".hidden", "keys/.x", "a/b/c", "A", "a b", "a\nb", "a*", strings.Repeat("a", 200)} {
		if err := s.Put(t.Context(), name, []byte("x")); err == nil {
			t.Errorf("%q was written", name)
		}
		if _, err := s.Get(t.Context(), name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q was asked for: %v", name, err)
		}
	}
}

func tooLarge(t *testing.T, s shelf.Shelf, g ground) {
	most := bytes.Repeat([]byte("x"), shelf.MaxFile)
	put(t, s, keyName, most)
	if got, err := s.Get(t.Context(), keyName); err != nil || len(got) != len(most) {
		t.Errorf("the largest file: %d bytes, %v", len(got), err)
	}
	if err := s.Put(t.Context(), keyName, append(most, 'x')); idOf(err) != "kit.shelf-large" {
		t.Errorf("put more: %v", err)
	}
	g.plant(t, keyName, append(most, 'x'))
	if _, err := s.Get(t.Context(), keyName); idOf(err) != "kit.shelf-large" {
		t.Errorf("get more: %v", err)
	}
	g.plant(t, keyName, nil)
}

func interrupted(t *testing.T, s shelf.Shelf) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "config", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Get(ctx, "config"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.List(ctx, "keys"); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
}

// noRepository must not look like a repository without a kit.
func noRepository(t *testing.T, s shelf.Shelf) {
	if err := s.Put(t.Context(), "config", []byte("x")); err == nil {
		t.Error("put made a repository's folder")
	}
	if _, err := s.Get(t.Context(), "config"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.List(t.Context(), "keys"); err == nil {
		t.Error("list gives an empty folder")
	}
}

func kitOrReason(t *testing.T, s shelf.Shelf, keeps bool) {
	err := s.Put(t.Context(), "rochdale-kit.age", []byte("kit"))
	if keeps && err != nil || !keeps && idOf(err) != "kit.shelf-none" {
		t.Errorf("put: %v", err)
	}
	_, err = s.Get(t.Context(), "rochdale-kit.age")
	if keeps && err != nil || !keeps && idOf(err) != "kit.shelf-none" {
		t.Errorf("get: %v", err)
	}
}

// putBackContract heals what is lost and damaged and leaves the rest.
func putBackContract(t *testing.T, g ground) {
	t.Helper()
	s := open(t, g.place)
	files := shelf.RepositoryFiles{Config: bytes.Repeat([]byte("c"), 100), Keys: keys("one", "two")}
	for name, content := range files.Keys {
		put(t, s, "keys/"+name, content)
	}
	put(t, s, "config", files.Config)
	read, err := shelf.ReadRepository(t.Context(), s)
	if err != nil || !bytes.Equal(read.Config, files.Config) || !maps.EqualFunc(read.Keys, files.Keys, bytes.Equal) {
		t.Fatalf("read %v, %v", read, err)
	}
	if done, err := read.PutBack(t.Context(), s, true); err != nil || len(done) != 0 {
		t.Errorf("nothing was wrong: %v, %v", done, err)
	}
	names := slices.Sorted(maps.Keys(files.Keys))
	g.plant(t, "keys/"+names[0], []byte("broken"))
	g.plant(t, "config", []byte("cut off"))
	if _, err := shelf.ReadRepository(t.Context(), s); idOf(err) != "kit.repository-broken" {
		t.Errorf("a broken repository was read: %v", err)
	}
	done, err := read.PutBack(t.Context(), s, false)
	if want := []string{"keys/" + names[0], "config"}; err != nil || !slices.Equal(done, want) {
		t.Errorf("put back %v, %v, want %v", done, err, want)
	}
	g.plant(t, "config", bytes.Repeat([]byte("d"), 100))
	if done, err := read.PutBack(t.Context(), s, false); err != nil || len(done) != 0 {
		t.Errorf("a config that may be newer was replaced: %v, %v", done, err)
	}
	if done, err := read.PutBack(t.Context(), s, true); err != nil || !slices.Equal(done, []string{"config"}) {
		t.Errorf("a damaged config: %v, %v", done, err)
	}
	if again, err := shelf.ReadRepository(t.Context(), s); err != nil || !bytes.Equal(again.Config, files.Config) {
		t.Errorf("read again: %v", err)
	}
}

func put(t *testing.T, s shelf.Shelf, name string, content []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, content); err != nil {
		t.Fatal(err)
	}
}

func idOf(err error) string {
	var p *backups.Problem
	if errors.As(err, &p) {
		return p.ID
	}
	return ""
}
