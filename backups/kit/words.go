// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	_ "embed"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed words.yaml
var wordsFile []byte

// Languages are those in which pages are printed.
func Languages() []string { return []string{"en", "es", "fr"} }

// words are the texts of the pages in one language, by id.
type words map[string]string

// wordsIn gives the texts in the language, in English where it is none of ours.
func wordsIn(lang string) (words, string, error) {
	var all map[string]map[string]string
	if err := yaml.Unmarshal(wordsFile, &all); err != nil {
		return nil, "", fmt.Errorf("the words of the pages: %w", err)
	}
	if _, ok := all["title"][lang]; !ok {
		lang = "en"
	}
	w := words{}
	for id, languages := range all {
		w[id] = languages[lang]
	}
	return w, lang, nil
}

// say fills a text in from pairs of name and value.
func (w words) say(id string, pairs ...any) string {
	var list []string
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(list...).Replace(w[id])
}
