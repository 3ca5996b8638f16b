// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// TestArchive reads an initial ramdisk as the kernel does: entry by entry, each
// on a multiple of four.
func TestArchive(t *testing.T) {
	var a archive
	a.folder("dev")
	a.device("dev/console", 5, 1)
	a.file("init", 0o755, []byte("program"))
	var got []string
	for rest := a.bytes(); len(rest) > 0; {
		var f [13]int
		const header, field = 110, 8
		for i := range f {
			at := len("070701") + i*field
			if _, err := fmt.Sscanf(string(rest[at:at+field]), "%x", &f[i]); err != nil {
				t.Fatal(err)
			}
		}
		name := string(rest[header : header+f[11]-1])
		data := (header + f[11] + 3) / 4 * 4
		got = append(got, fmt.Sprintf("%s %o %d:%d %q", name, f[1], f[9], f[10], rest[data:data+f[6]]))
		if !bytes.HasPrefix(rest, []byte("070701")) || rest[header+f[11]-1] != 0 {
			t.Fatalf("%s has a broken header", name)
		}
		rest = rest[data+(f[6]+3)/4*4:]
	}
	want := []string{`dev 40755 0:0 ""`, `dev/console 20600 5:1 ""`, `init 100755 0:0 "program"`, `TRAILER!!! 0 0:0 ""`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the archive has\n%s", strings.Join(got, "\n"))
	}
}
