// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of one file of a stack. They are far above what a person writes.
const (
	maxFile  = 256 << 10
	maxNodes = 10_000
)

// document is one YAML file: it gathers every problem and remembers where each
// value stands.
type document struct {
	file     string
	problems []Problem
	lines    map[string]int // by path, such as web.port
}

// open reads a file into nodes; nil means that there is nothing to walk and the
// reason is among the problems.
func (d *document) open(fsys fs.FS) *yaml.Node {
	data, ok := d.read(fsys)
	if !ok {
		return nil
	}
	return d.parse(data)
}

func (d *document) read(fsys fs.FS) ([]byte, bool) {
	file, err := fsys.Open(d.file)
	if errors.Is(err, fs.ErrNotExist) {
		d.at(0, "file-missing", "file", d.file)
		return nil, false
	}
	if err != nil {
		d.at(0, "file-unreadable", "file", d.file, "reason", err.Error())
		return nil, false
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err := errors.Join(err, file.Close()); err != nil {
		d.at(0, "file-unreadable", "file", d.file, "reason", err.Error())
		return nil, false
	}
	return data, true
}

// parse turns bytes into nodes that have no aliases, tags or second document.
func (d *document) parse(data []byte) *yaml.Node {
	if len(data) > maxFile {
		d.at(0, "file-size", "file", d.file, "limit", sizeText(maxFile))
		return nil
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	var root, second yaml.Node
	err := decoder.Decode(&root)
	if errors.Is(err, io.EOF) {
		d.at(0, "empty")
		return nil
	}
	if err != nil {
		d.broken(err)
		return nil
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		d.at(second.Line, "documents")
		return nil
	}
	if count := d.plain(&root); count > maxNodes {
		d.at(0, "nodes", "limit", strconv.Itoa(maxNodes))
	}
	if len(d.problems) > 0 || len(root.Content) == 0 {
		return nil
	}
	return root.Content[0]
}

// broken reports text that is not YAML; the library tells the line in words.
func (d *document) broken(err error) {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(reason); m != nil {
		line, _ = strconv.Atoi(m[1])
		reason = strings.TrimPrefix(reason, m[0])
	}
	d.at(line, "yaml", "reason", reason)
}

// plain refuses what would make a line mean something else than it says, and
// counts nodes. It does not follow aliases, so that they cannot grow.
func (d *document) plain(n *yaml.Node) int {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" {
		d.at(n.Line, "alias")
		return 1
	}
	if !slices.Contains(plainTags(), n.ShortTag()) {
		d.at(n.Line, "tag", "tag", n.Tag)
	}
	count := 1
	for _, c := range n.Content {
		count += d.plain(c)
	}
	return count
}

func plainTags() []string {
	return []string{"", "!!map", "!!seq", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp"}
}

// at adds a problem; pairs are argument names and values.
func (d *document) at(line int, id string, pairs ...string) {
	args := map[string]string{"place": place(d.file, line)}
	for i := 0; i+1 < len(pairs); i += 2 {
		args[pairs[i]] = clip(pairs[i+1])
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: line, ID: "stack.problem." + id, Args: args})
}

// on adds a problem about the value at a path that was walked.
func (d *document) on(path, id string, pairs ...string) {
	d.at(d.lines[path], id, append([]string{"key", path}, pairs...)...)
}

// clip keeps what a hostile file can put into a message short and on one line.
func clip(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// sizeText writes bytes as people do.
func sizeText(n int64) string {
	for _, u := range []struct {
		unit string
		size int64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.unit)
		}
	}
	return strconv.FormatInt(n, 10)
}
