// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"strings"
	"testing"
)

// TestConfigInWords: a slip in the configuration is told without names of our types.
func TestConfigInWords(t *testing.T) {
	for in, want := range map[string]string{
		"schema: 1\nno_such_key: 2\n":                           `line 2: "no_such_key" is not known here`,
		"schema: 1\nbackups:\n  repositories:\n    nas: here\n": `line 4: "here" is not what belongs here`,
	} {
		_, err := ParseConfig(strings.NewReader(in))
		if m := MessageOf(err); m.ID != "config.syntax" || !strings.Contains(m.Args["detail"], want) || strings.Contains(err.Error(), "appliance.") {
			t.Errorf("%v", err)
		}
	}
}

// TestInWords: a technical cause reads as what it tells.
func TestInWords(t *testing.T) {
	title := func(m Message) string { return "<" + m.ID + " " + m.Args["address"] + ">" }
	got := InWords(`save: backups.no-repository address="/mnt/a" file="/etc/b": exit code 10`, title)
	if want := "save: <backups.no-repository /mnt/a>: exit code 10"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
