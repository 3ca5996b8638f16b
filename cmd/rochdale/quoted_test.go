// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestQuotedCommands: every command that a text or a page tells people to run is
// one, with flags that it has and no more arguments than it takes.
func TestQuotedCommands(t *testing.T) {
	files := []string{"../../README.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../stacks/catalog/*/README.md", "../../appliance/text/messages/*.yaml"} {
		more, err := filepath.Glob(pattern)
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(more), err)
		}
		files = append(files, more...)
	}
	a, _ := testApp(false, nil)
	root, found := newRootCommand(a), 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, tokens := range quoted(line) {
				found++
				if err := runnable(root, tokens); err != nil {
					t.Errorf("%s:%d: rochdale %s: %v", file, n+1, strings.Join(tokens, " "), err)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d commands were found", found)
	}
	for _, wrong := range []string{"backup now", "logs {stack} {service}", "stack link {stack} --for x", "stack frobnicate", "status {stack}"} {
		if runnable(root, strings.Fields(wrong)) == nil {
			t.Errorf("rochdale %s is taken for a command", wrong)
		}
	}
}

// quoted finds the words behind the program's name in a line. Where another
// program is told of a unit of that name nothing is ours.
func quoted(line string) (list [][]string) {
	const word = `(?:--?[a-z][a-z-]*|[a-z]+(?:-[a-z]+)*|\{[a-z]+\})`
	call := regexp.MustCompile(`(^|\S+ |[^\s/.-]|\./|\s)rochdale((?: ` + word + `)+)`)
	for _, m := range call.FindAllStringSubmatch(strings.ReplaceAll(line, `\n`, " ; "), -1) {
		switch strings.TrimSpace(m[1]) {
		case "-u", "restart", "reload", "start", "status":
		default:
			list = append(list, strings.Fields(m[2]))
		}
	}
	return list
}

// runnable follows the words down to a command, and looks at its flags and at
// placeholders. Words that come after those may be the sentence around them.
func runnable(root *cobra.Command, tokens []string) error {
	c := root
	for len(tokens) > 0 {
		next, _, err := c.Find(tokens[:1])
		if err != nil || next == c {
			break
		}
		c, tokens = next, tokens[1:]
	}
	if c == root || c.HasSubCommands() && len(tokens) > 0 {
		return fmt.Errorf("%s has no such command", c.CommandPath())
	}
	args := 0
	for i := 0; i < len(tokens); i++ {
		name, isFlag := strings.CutPrefix(tokens[i], "--")
		switch {
		case isFlag && name != "help":
			flag := c.Flag(name)
			if flag == nil {
				return fmt.Errorf("it has no --%s", name)
			}
			if flag.NoOptDefVal == "" {
				i++ // its value
			}
		case strings.HasPrefix(tokens[i], "{"):
			args++
		}
	}
	return c.ValidateArgs(make([]string, max(args, strings.Count(c.Use, " ")-strings.Count(c.Use, "["))))
}
