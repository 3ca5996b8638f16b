// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import "testing"

// TestEnvRoundTrip: a secret comes out of a kit as it went in, whatever is in it.
func TestEnvRoundTrip(t *testing.T) {
	for _, secret := range []string{"plain", `a\b`, `"both"`, `it's`, `$x ` + "`y`", " spaces ", `a"b'c\d$`, "#no comment", `ends\`, ""} {
		if got := variables([]byte("A=" + envValue(secret) + "\n"))["A"]; got != secret {
			t.Errorf("%q became %q in %s", secret, got, envValue(secret))
		}
	}
	for line, want := range map[string]string{`A=a\\b`: `a\b`, `A=a\b`: "ab", `A='a\b'`: `a\b`, `A="a\b"`: `a\b`, `A="a\"b"`: `a"b`, `A=a"b"`: `a"b"`, `A="a"'b'`: "ab"} {
		if got := variables([]byte(line))["A"]; got != want {
			t.Errorf("%s: %q", line, got)
		}
	}
}
