// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"testing"
)

func TestCalmWriter(t *testing.T) {
	var out bytes.Buffer
	w := &calmWriter{to: &out}
	for _, c := range []byte("a\x1b]52;c;cm0gLXJm\x07b\tñ\u00a0«\u009b2Jc\r\n") { // one at a time
		if n, err := w.Write([]byte{c}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := out.String(); got != "a]52;c;cm0gLXJmb\tñ\u00a0«2Jc\n" {
		t.Errorf("%q", got)
	}
}
