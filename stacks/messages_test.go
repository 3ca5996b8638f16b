// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks_test

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"rochdale/stacks"
)

// TestMessages compares the English texts here with the catalogue that people
// read, and wants every problem there in three languages.
func TestMessages(t *testing.T) {
	data, err := os.ReadFile("../appliance/text/messages/stack.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var messages map[string]map[string]struct{ Title, Why, Fix string }
	if err := yaml.Unmarshal(data, &messages); err != nil {
		t.Fatal(err)
	}
	for id, words := range stacks.EnglishWords() {
		for _, language := range []string{"en", "es", "fr"} {
			m := messages[id][language]
			if m.Title == "" || m.Why == "" || m.Fix == "" {
				t.Errorf("%s has no complete text in %s", id, language)
			}
		}
		if en := messages[id]["en"]; !strings.EqualFold(en.Title, words[0]) || en.Fix != words[1] {
			t.Errorf("%s reads %q here and %q in the catalogue", id, words, en)
		}
	}
}
