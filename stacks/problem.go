// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a stack, where it stands, and an id
// under which the message catalogues say what to write instead. Args always has
// "place", the file and the line.
type Problem struct {
	File string
	Line int // from 1; 0 when it is about the whole file
	ID   string
	Args map[string]string
}

// Error is the problem in one English line: place, what is wrong, what to write.
func (p Problem) Error() string {
	w := wordsOf(p.ID)
	return fmt.Sprintf("%s: %s. %s", place(p.File, p.Line), fill(w.title, p.Args), fill(w.fix, p.Args))
}

func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// Invalid is what [Parse] returns for a stack that breaks rules: all problems
// at once, ordered by file and line.
type Invalid struct{ Problems []Problem }

// Error lists all problems, one a line.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// invalid gives nil when there is no problem.
func invalid(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return &Invalid{Problems: problems}
}

// fill puts arguments into the {places} of a text.
func fill(text string, args map[string]string) string {
	pairs := make([]string, 0, 2*len(args))
	for name, value := range args {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// words are the English text of a problem; rooms that talk to people have it in
// every language, under the same id.
type words struct{ id, title, fix string }

func wordsOf(id string) words {
	for _, list := range [][]words{commonWords(), manifestWords(), composeWords()} {
		for _, w := range list {
			if w.id == id {
				return w
			}
		}
	}
	return words{id: id, title: id}
}
