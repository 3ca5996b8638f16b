// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestProgramRanges: only what can be read again from the file is dropped.
func TestProgramRanges(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	maps := filepath.Join(t.TempDir(), "maps")
	text := fmt.Sprintf(`00400000-01000000 r-xp 00000000 fe:01 12 %[1]s
01000000-02000000 r--p 00c00000 fe:01 12 %[1]s
02000000-03000000 rw-p 01c00000 fe:01 12 %[1]s
c000000000-c000400000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fe:01 99 /usr/lib/locale/locale-archive
nonsense r-xp 0 0 0 %[1]s
`, program)
	if err := os.WriteFile(maps, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := programRanges(maps)
	if len(got) != 2 || got[0] != (span{0x400000, 0x1000000}) || got[1] != (span{0x1000000, 0x2000000}) {
		t.Errorf("%x", got)
	}
	if len(programRanges("/proc/self/maps")) == 0 {
		t.Error("the running program has no code")
	}
}
