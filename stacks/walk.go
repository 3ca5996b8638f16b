// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// visit reads the value of one key; path is where it stands, such as web.port.
type visit func(n *yaml.Node, path string)

// fields are the keys that a mapping may have.
type fields map[string]visit

// mapping walks a mapping with a closed set of keys.
func (d *document) mapping(n *yaml.Node, path string, known fields, required ...string) {
	seen := d.entries(n, path, func(key *yaml.Node, value *yaml.Node, at string) {
		read, ok := known[key.Value]
		if !ok {
			d.unknown(key, at, slices.Sorted(maps.Keys(known)))
			return
		}
		read(value, at)
	})
	for _, key := range required {
		if seen != nil && !seen[key] {
			d.at(n.Line, "missing", "key", join(path, key))
		}
	}
}

// entries walks any mapping and gives the keys that it has, nil when it is none.
func (d *document) entries(n *yaml.Node, path string, each func(key, value *yaml.Node, at string)) map[string]bool {
	d.lines[path] = n.Line
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, "mapping")
		return nil
	}
	first := map[string]int{}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		if line, again := first[key.Value]; again {
			d.at(key.Line, "duplicate-key", "key", at, "first", strconv.Itoa(line))
			continue
		}
		first[key.Value], seen[key.Value] = key.Line, true
		if key.Kind != yaml.ScalarNode {
			d.wrong(key, path, "mapping")
			continue
		}
		d.lines[at] = key.Line
		each(key, value, at)
	}
	return seen
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *document) unknown(key *yaml.Node, at string, known []string) {
	if nearest := nearest(key.Value, known); nearest != "" {
		d.at(key.Line, "maybe-key", "key", at, "nearest", nearest)
		return
	}
	d.at(key.Line, "unknown-key", "key", at, "known", strings.Join(known, ", "))
}

// list walks a sequence of at most most values.
func (d *document) list(n *yaml.Node, path string, most int, each visit) {
	d.lines[path] = n.Line
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, path, "list")
		return
	}
	if len(n.Content) > most {
		d.tooMany(n, path, len(n.Content), most)
	}
	for i, c := range n.Content {
		at := path + "[" + strconv.Itoa(i) + "]"
		d.lines[at] = c.Line
		each(c, at)
	}
}

func (d *document) tooMany(n *yaml.Node, path string, count, most int) {
	d.at(n.Line, "count", "key", path, "count", strconv.Itoa(count), "max", strconv.Itoa(most))
}

// text reads a string that is neither empty nor longer than most characters.
func (d *document) text(n *yaml.Node, path string, most int) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		d.wrong(n, path, "text")
		return "", false
	}
	if n.ShortTag() != "!!str" {
		d.at(n.Line, "quotes", "key", path, "value", n.Value)
		return "", false
	}
	if !plainText(n.Value, most) {
		d.at(n.Line, "text", "key", path, "max", strconv.Itoa(most))
		return "", false
	}
	return n.Value, true
}

func plainText(s string, most int) bool {
	return strings.TrimSpace(s) != "" && len([]rune(s)) <= most && strings.IndexFunc(s, unicode.IsControl) < 0
}

// matching reads a string that has a form, or reports the problem id.
func (d *document) matching(form func(string) bool, id string, into *string) visit {
	return func(n *yaml.Node, path string) {
		s, ok := d.text(n, path, 500)
		if ok && !form(s) {
			d.at(n.Line, id, "key", path, "value", s)
			return
		}
		*into = s
	}
}

// integer reads a whole number between two bounds, both included.
func (d *document) integer(least, most int64, into *int64) visit {
	return func(n *yaml.Node, path string) {
		var v int64
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Decode(&v) != nil {
			d.wrong(n, path, "number")
			return
		}
		if v < least || v > most {
			d.at(n.Line, "range", "key", path, "value", n.Value,
				"min", strconv.FormatInt(least, 10), "max", strconv.FormatInt(most, 10))
			return
		}
		*into = v
	}
}

func (d *document) boolean(into *bool) visit {
	return func(n *yaml.Node, path string) {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(into) != nil {
			d.wrong(n, path, "bool")
		}
	}
}

// texts reads a list of strings.
func (d *document) texts(most int, into *[]string) visit {
	return func(n *yaml.Node, path string) {
		d.list(n, path, most, func(n *yaml.Node, path string) {
			if s, ok := d.text(n, path, 500); ok {
				*into = append(*into, s)
			}
		})
	}
}

// wrong reports a value of another type; want is mapping, list, text, number or bool.
func (d *document) wrong(n *yaml.Node, path, want string) {
	if path == "" {
		path = d.file
	}
	d.at(n.Line, "want-"+want, "key", path)
}

// nearest is the known word at most two changes away, if there is one.
func nearest(word string, known []string) string {
	best, found := 3, ""
	for _, k := range known {
		if n := distance(word, k); n < best && n < len(k) {
			best, found = n, k
		}
	}
	return found
}

// distance is the number of letters to change, add or remove.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := above
			if a[i] != b[j] {
				change++
			}
			above = row[j+1]
			row[j+1] = min(change, row[j]+1, above+1)
		}
	}
	return row[len(b)]
}
