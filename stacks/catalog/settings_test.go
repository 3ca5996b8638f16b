// SPDX-License-Identifier: AGPL-3.0-or-later

package catalog_test

import (
	"os"
	"slices"
	"testing"

	"rochdale/stacks"
	"rochdale/stacks/coop"
	"rochdale/stacks/coop/text"
)

// TestDeliverySettings compares what the delivery stack declares with what the
// platform in it knows: the same keys, ranges and words.
func TestDeliverySettings(t *testing.T) {
	s, err := stacks.Parse(os.DirFS("delivery"))
	if err != nil {
		t.Fatal(err)
	}
	words, err := text.Load()
	if err != nil {
		t.Fatal(err)
	}
	platform := coop.Schema()
	if len(platform) != len(s.Settings) {
		t.Fatalf("%d settings are declared, the platform has %d", len(s.Settings), len(platform))
	}
	for i, got := range s.Settings {
		want := platform[i]
		if got.Key != want.Key || got.Type != string(want.Type) || got.Default != want.Default || got.Owner != want.Owner {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if !slices.Equal(got.Choices, want.Choices) || got.Min != want.Min || got.Max != want.Max {
			t.Errorf("%s: range %d to %d of %v, want %+v", got.Key, got.Min, got.Max, got.Choices, want)
		}
		for _, language := range []string{"en", "es", "fr"} {
			title, hint := words.T(language, "setting."+got.Key), words.T(language, "setting."+got.Key+".hint")
			if got.Title[language] != title || got.Hint[language] != hint {
				t.Errorf("%s in %s: %q and %q, the platform says %q and %q", got.Key, language, got.Title[language], got.Hint[language], title, hint)
			}
		}
	}
}
