// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"io/fs"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Setting is one thing that a co-op can decide about its platform, as the file
// named under settings declares it. The platform keeps the values; this is what
// others need to show and check them.
type Setting struct {
	Key  string
	Type string // percent, money, seconds, number, choice or text
	// Default, and below Min and Max, are as the platform stores them: percent
	// in hundredths of a percent, money in minor units.
	Default  string
	Min, Max int64             // of numbers
	Choices  []string          // of a choice
	Owner    string            // who may change it: operator, admin or vote
	Title    map[string]string // by language
	Hint     map[string]string // by language; may be empty
}

// settingsReader reads the file of settings.
type settingsReader struct {
	document
	settings []Setting
}

func readSettings(fsys fs.FS, file string) ([]Setting, []Problem) {
	r := &settingsReader{document: document{file: file, lines: map[string]int{}}}
	root := r.open(fsys)
	if root == nil {
		return nil, r.problems
	}
	r.mapping(root, "", fields{
		"schema":   r.integer(schema, schema, new(int64)),
		"settings": r.all,
	}, "schema", "settings")
	return r.settings, r.problems
}

func (r *settingsReader) all(n *yaml.Node, path string) {
	form := regexp.MustCompile(`^[a-z][a-z0-9]*(\.[a-z][a-z0-9]*){0,5}$`)
	r.entries(n, path, func(key, value *yaml.Node, at string) {
		if !form.MatchString(key.Value) {
			r.at(key.Line, "setting-key", "key", at)
		}
		r.settings = append(r.settings, r.setting(key.Value, value, at))
	})
}

func (r *settingsReader) setting(key string, n *yaml.Node, path string) Setting {
	s := Setting{Key: key}
	before := len(r.problems)
	r.mapping(n, path, fields{
		"type":    r.choice(&s.Type, "percent", "money", "seconds", "number", "choice", "text"),
		"default": func(n *yaml.Node, at string) { s.Default = r.stored(n, at) },
		"min":     r.integer(-1<<62, 1<<62, &s.Min),
		"max":     r.integer(-1<<62, 1<<62, &s.Max),
		"choices": r.texts(50, &s.Choices),
		"owner":   r.choice(&s.Owner, "operator", "admin", "vote"),
		"title":   func(n *yaml.Node, at string) { s.Title = r.words(n, at) },
		"hint":    func(n *yaml.Node, at string) { s.Hint = r.words(n, at) },
	}, "type", "default", "owner", "title")
	if len(r.problems) == before {
		r.sensible(s, path)
	}
	return s
}

// stored reads a default: text, or digits without quotes.
func (r *settingsReader) stored(n *yaml.Node, path string) string {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
		return n.Value
	}
	s, _ := r.text(n, path, 500)
	return s
}

// sensible checks the parts of one setting against each other.
func (r *settingsReader) sensible(s Setting, path string) {
	numeric := s.Type != "choice" && s.Type != "text"
	if (s.Type == "choice") != (len(s.Choices) > 0) {
		r.on(path, "setting-choices")
	}
	if s.Type == "choice" {
		for _, c := range s.Choices {
			if c == s.Default {
				return
			}
		}
		r.on(join(path, "default"), "choice", "value", s.Default, "choices", known(s.Choices))
	}
	value, err := strconv.ParseInt(s.Default, 10, 64)
	if numeric && (err != nil || value < s.Min || value > s.Max) {
		r.on(join(path, "default"), "range", "value", s.Default,
			"min", strconv.FormatInt(s.Min, 10), "max", strconv.FormatInt(s.Max, 10))
	}
}
