// SPDX-License-Identifier: AGPL-3.0-or-later

package text

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"

	"go.yaml.in/yaml/v3"

	"rochdale/appliance"
)

//go:embed messages/*.yaml
var messages embed.FS

// Fallback is the language of everything that a catalogue lacks in another.
const Fallback = "en"

// Languages are the languages that every message has.
func Languages() []string { return []string{"en", "es", "fr"} }

// Rendered is a message in one language. A plain label has a Title alone.
type Rendered struct {
	Title string `json:"title" yaml:"title"`
	Why   string `json:"why,omitempty" yaml:"why"`
	Fix   string `json:"fix,omitempty" yaml:"fix"`
}

// Catalogue renders messages. A language is read from the binary when it is
// first asked for, and the other languages are not kept in memory.
type Catalogue struct {
	files     fs.FS
	mu        sync.Mutex
	languages map[string]map[string]Rendered
}

// Open gives the messages that are built into the binary. Nothing is read yet.
func Open() *Catalogue { return open(messages) }

func open(files fs.FS) *Catalogue {
	return &Catalogue{files: files, languages: map[string]map[string]Rendered{}}
}

// Render gives the message in the language, in English when the language lacks
// it, and the bare id with its arguments when no catalogue knows it: a person
// always reads something.
func (c *Catalogue) Render(lang string, m appliance.Message) Rendered {
	r, ok := c.find(lang, m.ID)
	if !ok {
		return Rendered{Title: m.String()}
	}
	args := c.inWords(lang, m.Args)
	return Rendered{Title: fill(r.Title, args), Why: fill(r.Why, args), Fix: fill(r.Fix, args)}
}

// planArg is the argument that is the name of a plan. People read it in words.
const planArg = "plan"

func (c *Catalogue) inWords(lang string, args map[string]string) map[string]string {
	name, ok := args[planArg]
	if !ok {
		return args
	}
	args = maps.Clone(args)
	args[planArg] = c.Plan(lang, name)
	return args
}

// Plan gives the name of a plan in words: "backup-check" is "reading repositories again".
func (c *Catalogue) Plan(lang, name string) string {
	if r, ok := c.find(lang, "plan."+name); ok {
		return r.Title
	}
	return name
}

// Label gives the title of an id, filled in from pairs of name and value.
func (c *Catalogue) Label(lang, id string, pairs ...any) string {
	return c.Render(lang, appliance.Message{ID: id, Args: appliance.Args(pairs...)}).Title
}

// Has tells whether the id is known.
func (c *Catalogue) Has(id string) bool {
	_, ok := c.find(Fallback, id)
	return ok
}

func (c *Catalogue) find(lang, id string) (Rendered, bool) {
	if r, ok := c.language(lang)[id]; ok {
		return r, true
	}
	r, ok := c.language(Fallback)[id]
	return r, ok
}

func (c *Catalogue) language(lang string) map[string]Rendered {
	if !slices.Contains(Languages(), lang) {
		lang = Fallback
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.languages[lang]; ok {
		return known
	}
	// What is built into the binary was read by our tests; should it be damaged
	// after all, ids are shown instead of texts and nothing else breaks.
	known, err := load(c.files, lang)
	if err != nil {
		known = map[string]Rendered{}
	}
	c.languages[lang] = known
	return known
}

func load(files fs.FS, lang string) (map[string]Rendered, error) {
	names, err := fs.Glob(files, "messages/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the messages: %w", err)
	}
	known := map[string]Rendered{}
	for _, name := range names {
		if err := loadArea(files, name, lang, known); err != nil {
			return nil, err
		}
	}
	return known, nil
}

func loadArea(files fs.FS, name, lang string, known map[string]Rendered) error {
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return fmt.Errorf("read the messages: %w", err)
	}
	var area map[string]map[string]Rendered
	if err := yaml.Unmarshal(data, &area); err != nil {
		return fmt.Errorf("read the messages in %s: %w", name, err)
	}
	for id, languages := range area {
		if r, ok := languages[lang]; ok {
			known[id] = r
		}
	}
	return nil
}

// fill replaces {name} by the argument of this name. A placeholder without an
// argument stays as it is, so that the mistake is seen.
func fill(s string, args map[string]string) string {
	if len(args) == 0 || !strings.Contains(s, "{") {
		return s
	}
	pairs := make([]string, 0, 2*len(args))
	for name, value := range args {
		pairs = append(pairs, "{"+name+"}", Calm(value))
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// Calm leaves out what a terminal would obey rather than show: an argument may quote
// what a server, a container or a file says.
func Calm(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// Pick gives the first of the wishes that is one of our languages: "fr",
// "fr_CA.UTF-8" and "fr-CA" all mean French. Without one it is English.
func Pick(wishes ...string) string {
	for _, w := range wishes {
		if lang, ok := Language(w); ok {
			return lang
		}
	}
	return Fallback
}

// Language tells which of our languages a locale or language tag means.
func Language(wish string) (string, bool) {
	tag, _, _ := strings.Cut(strings.ToLower(wish), "_")
	tag, _, _ = strings.Cut(tag, "-")
	tag, _, _ = strings.Cut(tag, ".")
	return tag, slices.Contains(Languages(), tag)
}
