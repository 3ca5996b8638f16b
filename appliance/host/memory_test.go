// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// fileMemory is how much of the program's file is in our memory, in kB.
func fileMemory(t *testing.T) (kb int) {
	t.Helper()
	status, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	for s := bufio.NewScanner(status); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "RssFile:"); ok {
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kb
}

func TestForgetStartup(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe") // now all of it is in the page cache
	if err != nil || len(self) == 0 {
		t.Fatal(err)
	}
	before := fileMemory(t)
	if err := ForgetStartup(); err != nil {
		t.Fatal(err)
	}
	if after := fileMemory(t); after >= before {
		t.Errorf("%d kB of the program are in memory, %d kB were before", after, before)
	}
}

func TestReadOnlyPart(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-019ad000 r-xp 00000000 fe:00 10404482                           /bin/x": true,
		"019ad000-032a8000 r--p 015ad000 fe:00 10404482                           /bin/x": true,
		"032a8000-033a8000 rw-p 02ea8000 fe:00 10404482                           /bin/x": false,
		"019ad000-032a8000 r--p 015ad000 fe:00 10404482                           /bin/y": false,
		"7ffd1000-7ffd3000 r-xp 00000000 00:00 0                                  [vdso]": false,
		"nonsense": false,
		"":         false,
	} {
		if _, _, ok := readOnlyPart(line, "/bin/x"); ok != want {
			t.Errorf("%q: %v", line, ok)
		}
	}
}
