// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
)

// content is what a file of this kind has in this turn, and in no other. Its
// first line tells the turn, so that the rest can be held against it.
func content(kind string, n int64) []byte {
	h := fnv.New64a()
	_, _ = h.Write([]byte(kind)) // a hash takes everything
	r := rand.New(rand.NewPCG(h.Sum64(), uint64(n)))
	sizes := []int{0, 100, 511, 4096, 20_000, 120_000}
	data := fmt.Appendf(nil, "%s %d\n", kind, n)
	for range sizes[r.IntN(len(sizes))] {
		data = append(data, byte('a'+r.IntN(26)))
	}
	return data
}

// turnOf reads a file and tells the turn that wrote it; 0 if it is not there.
// Anything but the content of one turn is an error.
func turnOf(path, kind string, mode fs.FileMode) (n int64, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	head, _, _ := bytes.Cut(data, []byte("\n"))
	if _, err := fmt.Sscanf(string(head), kind+" %d", &n); err != nil || !bytes.Equal(data, content(kind, n)) {
		return 0, fmt.Errorf("%s is half: %d bytes that begin with %q", path, len(data), data[:min(len(data), 20)])
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm() != mode {
		err = fmt.Errorf("%s has mode %v", path, info.Mode())
	}
	return n, err
}

// numbered reads the turn out of a name with this prefix.
func numbered(name, prefix string) (n int64, err error) {
	rest, ok := strings.CutPrefix(name, prefix)
	if _, scanned := fmt.Sscanf(rest, "%d", &n); !ok || scanned != nil {
		return 0, fmt.Errorf("%q is no name of ours", name)
	}
	return n, nil
}

// place is one of the things that a turn writes, in their order.
type place struct {
	name string
	turn int64
}

// inOrder wants places that were written one after the other, each durable before
// the next one began, to be of one turn, or those before some point of the next.
func inOrder(places ...place) error {
	first, last := places[0], places[len(places)-1]
	if first.turn-last.turn > 1 {
		return fmt.Errorf("%s is of turn %d, %s of turn %d", first.name, first.turn, last.name, last.turn)
	}
	for i, p := range places[1:] {
		if before := places[i]; p.turn > before.turn {
			return fmt.Errorf("%s is of turn %d, and %s before it of turn %d", p.name, p.turn, before.name, before.turn)
		}
	}
	return nil
}
