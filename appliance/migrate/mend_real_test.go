// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMendInACage: the child reads the snapshot, and writes the volume and what makes
// way, and nothing else.
func TestMendInACage(t *testing.T) {
	s := newSite(t)
	snapshot, aside := owned(t, folder(t), "snapshot"), owned(t, folder(t), "aside")
	must(t, os.WriteFile(filepath.Join(snapshot, "a.jpg"), []byte("photo a"), 0o600))
	must(t, os.WriteFile(filepath.Join(s.to.Volumes["data"], "a.jpg"), []byte("pay me"), 0o600))
	giveAll(t, snapshot)
	giveAll(t, s.to.Volumes["data"])
	at := s.to
	at.Volumes = map[string]string{"data": s.to.Volumes["data"]}
	done, err := s.data.Mend(t.Context(), snapshot, at, aside)
	must(t, err)
	if done.Back != 1 || done.Aside != 1 || read(t, filepath.Join(at.Volumes["data"], "a.jpg")) != "photo a" || read(t, filepath.Join(aside, "a.jpg")) != "pay me" {
		t.Errorf("%+v", done)
	}
}
