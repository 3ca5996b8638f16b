// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"rochdale/appliance/host"
)

// configuration is what the daemon goes by: the document as it was when it last
// made sense, and what is wrong with the one on the disk now, if anything.
type configuration struct {
	mu      sync.Mutex
	now     Config
	known   bool // false: there never was a readable one
	trouble *Finding
}

// get gives the configuration; ok is false when none was ever readable.
func (c *configuration) get() (now Config, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, c.known
}

func (c *configuration) finding() *Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// load reads the document. One that makes no sense becomes a finding, and the
// last good one stays in force: from memory, or at start from its kept copy, so
// that a slip of the pen and a power cut together do not take a stack down.
func (c *configuration) load(p Paths, files host.Files) error {
	fresh, err := ReadConfig(p.Config())
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.now, c.known, c.trouble = fresh, true, nil
		return keepGood(p, files, fresh)
	}
	c.trouble = &Finding{Message: MessageOf(err), Severity: Warning}
	if !c.known {
		if good, goodErr := ReadConfig(p.GoodConfig()); goodErr == nil {
			c.now, c.known = good, true
		}
	}
	if !c.known {
		c.trouble.Severity = Failure
	}
	return err
}

func keepGood(p Paths, files host.Files, c Config) error {
	data, err := c.Encode()
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(p.GoodConfig()); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return files.Write(p.GoodConfig(), data, host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
}

// ReadConfig reads the document at path. A missing one is an [Error] with
// [ExitNotThere].
func ReadConfig(path string) (Config, error) {
	data, err := readConfigFile(path)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(bytes.NewReader(data))
}

// OpenConfig opens the document to read it, without waiting: a pipe or a device
// in its place is an error, and would else hold up whoever asks.
func OpenConfig(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a plain file")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func readConfigFile(path string) ([]byte, error) {
	f, err := OpenConfig(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Problem("config.missing", err, "path", path).WithCode(ExitNotThere)
	}
	if err != nil {
		return nil, Problem("config.unreadable", err, "path", path, "detail", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxConfig+1))
	if err != nil {
		return nil, Problem("config.unreadable", err, "path", path, "detail", err)
	}
	return data, nil
}

// SetHosts changes the domain and the aliases of a stack in the document on the
// disk, durably; comments and everything else in it stay.
func SetHosts(p Paths, files host.Files, stack string, hosts StackConfig) error {
	data, err := readConfigFile(p.Config())
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) != 1 {
		return Problem("config.syntax", err, "detail", fmt.Sprint(err)).WithCode(ExitUsage)
	}
	entry := childOf(childOf(doc.Content[0], "stacks"), stack)
	setValue(entry, "domain", scalarNode(hosts.Domain))
	setValue(entry, "aliases", listNode(hosts.Aliases))
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&doc), e.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	// What is written must be readable again, whatever the editing above met.
	if _, err := ParseConfig(bytes.NewReader(out.Bytes())); err != nil {
		return err
	}
	return files.Write(p.Config(), out.Bytes(), host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
}

// childOf gives the mapping under key, making an empty one when there is none.
func childOf(parent *yaml.Node, key string) *yaml.Node {
	if n := valueOf(parent, key); n != nil && n.Kind == yaml.MappingNode {
		return n
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	setValue(parent, key, n)
	return n
}

func valueOf(parent *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i].Value == key {
			return parent.Content[i+1]
		}
	}
	return nil
}

// setValue replaces or adds the value of a key; a nil value removes the key.
func setValue(parent *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i].Value != key {
			continue
		}
		if value == nil {
			parent.Content = append(parent.Content[:i], parent.Content[i+2:]...)
			return
		}
		value.LineComment, value.HeadComment = parent.Content[i+1].LineComment, parent.Content[i+1].HeadComment
		parent.Content[i+1] = value
		return
	}
	if value != nil {
		parent.Content = append(parent.Content, scalarNode(key), value)
	}
}

func scalarNode(s string) *yaml.Node {
	var n yaml.Node
	n.SetString(s)
	return &n
}

func listNode(items []string) *yaml.Node {
	if len(items) == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range items {
		n.Content = append(n.Content, scalarNode(s))
	}
	return n
}
