// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rochdale/appliance/host"
	"rochdale/backups/shelf"
)

// disk is the machine's own, joined as the product joins it.
type disk struct{ host.Files }

func (d disk) Mkdir(path string, mode fs.FileMode) error {
	return d.MkdirAll(path, host.Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()})
}

func localShelf(t *testing.T, dir string) shelf.Shelf {
	t.Helper()
	s, err := shelf.Open(shelf.Place{URL: dir}, shelf.Machine{Disk: disk{host.NewFiles()}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPublish(t *testing.T) {
	p, dir := printing(t, 2, 3), t.TempDir()
	s := localShelf(t, dir)
	if _, _, err := Published(t.Context(), s); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first kit: %v", err)
	}
	k := example()
	for k.Serial = 1; k.Serial <= 2; k.Serial++ {
		file, err := Seal(k, p.Recipient)
		if err != nil {
			t.Fatal(err)
		}
		label := LabelOf(k, p.Recipient, file)
		if err := Publish(t.Context(), s, file, label); err != nil {
			t.Fatal(err)
		}
		got, whole, err := Published(t.Context(), s)
		if err != nil || !whole || got != label || got.Serial != k.Serial || got.Key == "" {
			t.Errorf("got %+v, whole %v, %v", got, whole, err)
		}
		fetched, err := s.Get(t.Context(), Name)
		if err != nil || !bytes.Equal(fetched, file) || !got.Of(fetched) {
			t.Errorf("another kit lies there: %v", err)
		}
	}
}

// TestPublishCutOff: a kit whose label did not come is seen.
func TestPublishCutOff(t *testing.T) {
	p, dir := printing(t, 1, 1), t.TempDir()
	s := localShelf(t, dir)
	file, err := Seal(example(), p.Recipient)
	if err != nil {
		t.Fatal(err)
	}
	if err := Publish(t.Context(), s, file, LabelOf(example(), p.Recipient, file)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"a newer kit": func() error { return s.Put(t.Context(), Name, []byte("newer")) },
		"no kit":      func() error { return os.Remove(filepath.Join(dir, Name)) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if l, whole, err := Published(t.Context(), s); err != nil || whole || l.Serial != 7 {
			t.Errorf("%s: %+v, %v, %v", name, l, whole, err)
		}
	}
	for _, broken := range []string{"", "{}", "[]", `{"schema":9}`, strings.Repeat("[", 10000)} {
		if err := s.Put(t.Context(), LabelName, []byte(broken)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Published(t.Context(), s); problemOf(err).ID != "kit.label-damaged" {
			t.Errorf("%.20q: %v", broken, err)
		}
	}
}

// TestLabelTellsNothing: whoever keeps the storage learns no name from it.
func TestLabelTellsNothing(t *testing.T) {
	p, dir := printing(t, 1, 1), t.TempDir()
	file, err := Seal(example(), p.Recipient)
	if err != nil {
		t.Fatal(err)
	}
	if err := Publish(t.Context(), localShelf(t, dir), file, LabelOf(example(), p.Recipient, file)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, LabelName))
	if err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"mensajer", "example.com", "password", p.Recipient} {
		if bytes.Contains(bytes.ToLower(data), []byte(no)) {
			t.Errorf("the label shows %s: %s", no, data)
		}
	}
}
