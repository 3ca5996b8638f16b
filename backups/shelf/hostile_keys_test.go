// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"rochdale/appliance/host"
	"rochdale/backups/shelf"
)

// TestHostileKeys: who can write beside a repository fills its folder of keys.
func TestHostileKeys(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("config", bytes.Repeat([]byte{1}, 155))
	genuine := []byte(`{"created":"2026","kdf":"scrypt"}`)
	sum := sha256.Sum256(genuine)
	name := hex.EncodeToString(sum[:])
	put("keys/"+name, genuine)
	for i := range 100 {
		junk := append(bytes.Repeat([]byte{'x'}, shelf.MaxFile-8), fmt.Sprintf("%08d", i)...)
		s := sha256.Sum256(junk)
		put("keys/"+hex.EncodeToString(s[:]), junk)
	}
	s, err := shelf.Open(shelf.Place{URL: dir}, shelf.Machine{Disk: disk{host.NewFiles()}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := shelf.ReadRepository(t.Context(), s); err == nil {
		t.Errorf("%d keys are taken", len(got.Keys))
	}
	// A few large ones are left out.
	names, err := s.List(t.Context(), "keys")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names[10:] {
		if n != name {
			if err := os.Remove(filepath.Join(dir, "keys", n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := shelf.ReadRepository(t.Context(), s)
	if err != nil || len(got.Keys) != 1 || got.Keys[name] == nil {
		t.Errorf("%d keys, %v", len(got.Keys), err)
	}
}
