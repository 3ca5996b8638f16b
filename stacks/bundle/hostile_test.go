// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"go.yaml.in/yaml/v3"
)

// part is one entry of an archive that is put together by hand.
type part struct {
	header tar.Header
	data   []byte
}

// take apart a bundle; the first part is INDEX.
func takeApart(t *testing.T, packed []byte) (parts []part) {
	t.Helper()
	plain, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{*h, data})
	}
}

func putTogether(t *testing.T, parts []part, after ...byte) []byte {
	t.Helper()
	var b bytes.Buffer
	packed, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(packed)
	for _, p := range parts {
		if p.header.Typeflag == tar.TypeReg {
			p.header.Size = int64(len(p.data))
		}
		if err := w.WriteHeader(&p.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(p.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := packed.Write(after); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reindex writes an INDEX that is right for the parts behind it.
func reindex(parts []part) []part {
	x := index{}
	for _, p := range parts[1:] {
		x = append(x, entry{path: p.header.Name, size: int64(len(p.data)), sum: sha256.Sum256(p.data)})
	}
	parts[0].data = x.text()
	return parts
}

func file(name, content string) part {
	return part{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, []byte(content)}
}

func TestHostileArchives(t *testing.T) {
	packed, _ := build(t)
	at := func(parts []part, name string) int {
		return slices.IndexFunc(parts, func(p part) bool { return p.header.Name == name })
	}
	for name, c := range map[string]struct {
		change func(p []part) []part
		id     string
	}{
		"climbing name":      {func(p []part) []part { return reindex(append(p, file("stack/../../../etc/passwd", "x"))) }, "name"},
		"absolute name":      {func(p []part) []part { return reindex(append(p, file("/etc/passwd", "x"))) }, "name"},
		"foreign folder":     {func(p []part) []part { return reindex(append(p, file("other/x", "x"))) }, "name"},
		"backslash":          {func(p []part) []part { return reindex(append(p, file(`stack/..\x`, "x"))) }, "name"},
		"file and folder":    {func(p []part) []part { return reindex(append(p, file("stack/stack.yaml/x", "x"))) }, "name"},
		"odd image":          {func(p []part) []part { return reindex(append(p, file("images/../x.tar", "x"))) }, "name"},
		"twice in the index": {func(p []part) []part { return reindex(append(p, p[len(p)-1])) }, "format"},
		"twice in the tar":   {func(p []part) []part { return append(p, p[len(p)-1]) }, "extra"},
		"extra file":         {func(p []part) []part { return append(p, file("stack/extra", "x")) }, "extra"},
		"extra image":        {func(p []part) []part { return append(p, file("images/zzz/amd64.tar", "x")) }, "extra"},
		"out of order":       {func(p []part) []part { p[2], p[3] = p[3], p[2]; return p }, "extra"},
		"missing file": {func(p []part) []part {
			return slices.DeleteFunc(p, func(p part) bool { return p.header.Name == "stack/migrations/00002_b.sql" })
		}, "extra"},
		"missing last file": {func(p []part) []part { return p[:at(p, "images/web/amd64.tar")-1] }, "missing"},
		"no manifest": {func(p []part) []part {
			return reindex(slices.DeleteFunc(p, func(p part) bool { return p.header.Name == "stack/stack.yaml" }))
		}, "missing"},
		"changed file":  {func(p []part) []part { p[3].data[0] ^= 1; return p }, "digest"},
		"changed image": {func(p []part) []part { p[len(p)-1].data[7] ^= 1; return p }, "digest"},
		"longer file":   {func(p []part) []part { p[3].data = append(p[3].data, 'x'); return p }, "extra"},
		"shorter file":  {func(p []part) []part { p[3].data = p[3].data[1:]; return p }, "extra"},
		"link": {func(p []part) []part {
			p[3] = part{tar.Header{Typeflag: tar.TypeSymlink, Name: p[3].header.Name, Linkname: "/etc/passwd"}, nil}
			return p
		}, "extra"},
		"hard link": {func(p []part) []part {
			p[3] = part{tar.Header{Typeflag: tar.TypeLink, Name: p[3].header.Name, Linkname: "stack/stack.yaml"}, nil}
			return p
		}, "extra"},
		"device": {func(p []part) []part {
			p[3] = part{tar.Header{Typeflag: tar.TypeChar, Name: p[3].header.Name, Devmajor: 1, Devminor: 3}, nil}
			return p
		}, "extra"},
		"no index": {func(p []part) []part { return p[1:] }, "format"},
		"newer schema": {func(p []part) []part {
			p[0].data = bytes.Replace(p[0].data, []byte("schema 1"), []byte("schema 2"), 1)
			return p
		}, "schema"},
		"blank in index": {func(p []part) []part { p[0].data = append(p[0].data, '\n'); return p }, "format"},
		"huge claim": {func(p []part) []part {
			p[0].data = append(p[0].data, []byte("00000000000000000000000000000000000000000000000000000000000000ff 99999999999 images/zzz/amd64.tar\n")...)
			return p
		}, "size"},
		"large index": {func(p []part) []part { p[0].data = make([]byte, maxIndex+1); return p }, "format"},
		"broken lock": {func(p []part) []part { p[1].data = []byte(`{"schema":1,"images":[],"more":1}`); return reindex(p) }, "format"},
		"newer lock":  {func(p []part) []part { p[1].data = []byte(`{"schema":2,"images":[]}`); return reindex(p) }, "schema"},
		"empty lock":  {func(p []part) []part { p[1].data = []byte(`{"schema":1,"images":[]}`); return reindex(p) }, "extra"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			_, err := store.Unpack(t.Context(), bytes.NewReader(putTogether(t, c.change(takeApart(t, packed)))), "")
			wantRefused(t, err, c.id)
			if left, err := os.ReadDir(store.Dir); err != nil || len(left) > 0 {
				t.Fatalf("left %v, %v", left, err)
			}
		})
	}
}

func TestDataAfterTheEnd(t *testing.T) {
	packed, _ := build(t)
	_, err := newStore(t).Unpack(t.Context(), bytes.NewReader(putTogether(t, takeApart(t, packed), 'x')), "")
	wantRefused(t, err, "extra")
	if _, err := newStore(t).Unpack(t.Context(), bytes.NewReader(append(bytes.Clone(packed), 'x')), ""); err == nil {
		t.Fatal("bytes after the compressed data were accepted")
	}
}

func TestEveryCutIsNoticed(t *testing.T) {
	packed, _ := build(t)
	for end := 0; end < len(packed); end += 1 + len(packed)/150 {
		store := newStore(t)
		if _, err := store.Unpack(t.Context(), bytes.NewReader(packed[:end]), ""); err == nil {
			t.Fatalf("a bundle that ends after %d of %d bytes was accepted", end, len(packed))
		}
		if left, err := os.ReadDir(store.Dir); err != nil || len(left) > 0 {
			t.Fatalf("cut at %d left %v, %v", end, left, err)
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	packed, digest := build(t)
	for i := 0; i < len(packed); i += 1 + len(packed)/300 {
		damaged := bytes.Clone(packed)
		damaged[i] ^= 1 << (i % 8)
		o, err := newStore(t).Unpack(t.Context(), bytes.NewReader(damaged), digest)
		if err == nil && (o.Digest != digest || readImage(t, o) == "") {
			t.Fatalf("bit flip at %d gave another bundle", i)
		}
	}
}

func TestCatalog(t *testing.T) {
	packed, digest := build(t)
	none := fstest.MapFS{"blob/.gitkeep": {}}
	_, err := embeddedIn(none, "small")
	wantRefused(t, err, "built-without")
	if entries, err := catalogOf(t.Context(), none); err != nil || len(entries) > 0 {
		t.Fatalf("catalogue without bundles: %v, %v", entries, err)
	}
	files := fstest.MapFS{"blob/.gitkeep": {}, "blob/small.bundle": {Data: packed}}
	entries, err := catalogOf(t.Context(), files)
	if err != nil || len(entries) != 1 {
		t.Fatalf("catalogue %v, %v", entries, err)
	}
	if e := entries[0]; e.Name != "small" || e.Version != "1.2.3" || e.Digest != digest || e.Title["fr"] != "Petite" {
		t.Fatalf("entry %+v", e)
	}
	_, err = embeddedIn(files, "other")
	wantRefused(t, err, "unknown")
	content, err := embeddedIn(files, "small")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newStore(t).Unpack(t.Context(), content, digest); err != nil {
		t.Fatal(err)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("rochdale bundle, schema 1\n"))
	f.Add(index{{path: lockName}, {path: "stack/compose.yaml", size: 3}, {path: "stack/stack.yaml", size: 9}}.text())
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := parseIndex(text)
		if err == nil && !bytes.Equal(x.text(), text) {
			t.Fatalf("%q was read as %q", text, x.text())
		}
	})
}

func FuzzLock(f *testing.F) {
	text, err := lockOf(testImages("amd64", "arm64")).text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLock(text)
		if err != nil {
			return
		}
		again, err := l.text()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseLock(again); err != nil {
			t.Fatalf("%q was read, written and refused: %v", text, err)
		}
	})
}

// FuzzUnpack changes the tar archive below the compression, whose checksum
// would else refuse nearly every change first.
func FuzzUnpack(f *testing.F) {
	var packed bytes.Buffer
	if _, err := Build(f.Context(), testStack(), testImages(MachineArch()), &packed); err != nil {
		f.Fatal(err)
	}
	plain, err := zstd.NewReader(&packed)
	if err != nil {
		f.Fatal(err)
	}
	defer plain.Close()
	content, err := io.ReadAll(plain)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Fuzz(func(t *testing.T, content []byte) {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(content)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		store := newStore(t)
		if _, err := store.Unpack(t.Context(), &b, ""); err == nil {
			return
		}
		if left, err := os.ReadDir(store.Dir); err != nil || len(left) > 0 {
			t.Fatalf("left %v, %v", left, err)
		}
	})
}

// TestMessages compares the English texts here with the catalogue that people
// read, and wants every reason there in three languages.
func TestMessages(t *testing.T) {
	data, err := os.ReadFile("../../appliance/text/messages/stack.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var messages map[string]map[string]struct{ Title, Why, Fix string }
	if err := yaml.Unmarshal(data, &messages); err != nil {
		t.Fatal(err)
	}
	found := 0
	for id, m := range messages {
		if !strings.HasPrefix(id, "stack.bundle.") {
			continue
		}
		found++
		if here := wordsOf(id); !strings.EqualFold(here, m["en"].Title) {
			t.Errorf("%s reads %q here and %q in the catalogue", id, here, m["en"].Title)
		}
		for _, language := range []string{"en", "es", "fr"} {
			if m[language].Title == "" || m[language].Why == "" || m[language].Fix == "" {
				t.Errorf("%s has no complete text in %s", id, language)
			}
		}
	}
	if found != len(reasons()) {
		t.Errorf("the catalogue has %d reasons, there are %d", found, len(reasons()))
	}
}
