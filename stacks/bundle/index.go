// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names inside a bundle.
const (
	indexName  = "INDEX"
	lockName   = "images.lock"
	stackDir   = "stack/"
	imagesDir  = "images/"
	indexTitle = "rochdale bundle, schema "
	schema     = 1
)

// Bounds of a bundle. Images are the only large files.
const (
	maxEntries   = 2000
	maxIndex     = 1 << 20
	maxFile      = 4 << 20
	maxFiles     = 32 << 20
	maxImage     = 4 << 30
	maxNameBytes = 200
)

// entry is one line of INDEX.
type entry struct {
	path string
	size int64
	sum  [sha256.Size]byte
}

func (e entry) image() bool { return strings.HasPrefix(e.path, imagesDir) }

// order is how entries follow each other: the lock, the stack's files, images.
func order(a, b entry) int {
	rank := func(e entry) int {
		switch {
		case e.path == lockName:
			return 0
		case e.image():
			return 2
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.path, b.path))
}

// index is INDEX: what a bundle consists of.
type index []entry

// text is INDEX as it is written; the same entries always give the same bytes.
func (x index) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d\n", indexTitle, schema)
	for _, e := range x {
		fmt.Fprintf(&b, "%x %d %s\n", e.sum, e.size, e.path)
	}
	return b.Bytes()
}

// digestOf is the identity of the bundle with this INDEX.
func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// parseIndex reads INDEX strictly: writing it again must give the same bytes.
func parseIndex(text []byte) (index, error) {
	title, rest, _ := strings.Cut(string(text), "\n")
	version, ok := strings.CutPrefix(title, indexTitle)
	if !ok {
		return nil, refuse("format", nil, "reason", "its first file is not an index")
	}
	if version != strconv.Itoa(schema) {
		return nil, refuse("schema", nil, "schema", version)
	}
	lines := strings.Split(strings.TrimSuffix(rest, "\n"), "\n")
	if len(lines) > maxEntries {
		return nil, refuse("size", nil, "path", indexName)
	}
	x := make(index, 0, len(lines))
	for _, line := range lines {
		e, err := parseEntry(line)
		if err != nil {
			return nil, err
		}
		x = append(x, e)
	}
	if err := x.valid(); err != nil {
		return nil, err
	}
	if !bytes.Equal(x.text(), text) {
		return nil, refuse("format", nil, "reason", "its index is written in another way than it should")
	}
	return x, nil
}

func parseEntry(line string) (e entry, err error) {
	parts := strings.SplitN(line, " ", 3)
	if len(parts) != 3 {
		return e, refuse("format", nil, "reason", "its index has a line that is too short")
	}
	sum, err := hex.DecodeString(parts[0])
	if err != nil || len(sum) != len(e.sum) {
		return e, refuse("format", nil, "reason", "its index has a line without a digest")
	}
	copy(e.sum[:], sum)
	e.size, err = strconv.ParseInt(parts[1], 10, 64)
	if err != nil || e.size < 0 {
		return e, refuse("format", nil, "reason", "its index has a line without a size")
	}
	e.path = parts[2]
	return e, nil
}

// valid checks names, bounds and order. Strict order leaves no duplicates.
func (x index) valid() error {
	total := int64(0)
	for i, e := range x {
		if !validName(e.path) || x.isFolder(e.path) {
			return refuse("name", nil, "path", e.path)
		}
		if i > 0 && order(x[i-1], e) >= 0 {
			return refuse("format", nil, "reason", "its index is not in order")
		}
		limit := int64(maxFile)
		if e.image() {
			limit = maxImage
		} else {
			total += e.size
		}
		if e.size > limit || total > maxFiles {
			return refuse("size", nil, "path", e.path)
		}
	}
	if x.total() > maxTotal {
		return refuse("size", nil, "path", strings.TrimSuffix(imagesDir, "/"))
	}
	for _, path := range []string{lockName, stackDir + "stack.yaml", stackDir + "compose.yaml"} {
		if !slices.ContainsFunc(x, func(e entry) bool { return e.path == path }) {
			return refuse("missing", nil, "path", path)
		}
	}
	return nil
}

func (x index) isFolder(path string) bool {
	return slices.ContainsFunc(x, func(e entry) bool { return strings.HasPrefix(e.path, path+"/") })
}

// validName lets through plain names only: no climbing, no hidden files, no
// characters that another system or a mount option reads differently.
func validName(path string) bool {
	if !fs.ValidPath(path) || len(path) > maxNameBytes {
		return false
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$`).MatchString(path) {
		return false
	}
	if strings.HasPrefix(path, imagesDir) {
		return regexp.MustCompile(`^images/[a-z0-9-]+/[a-z0-9]+\.tar$`).MatchString(path)
	}
	return path == lockName || strings.HasPrefix(path, stackDir)
}

func (x index) find(path string) (entry, bool) {
	i := slices.IndexFunc(x, func(e entry) bool { return e.path == path })
	if i < 0 {
		return entry{}, false
	}
	return x[i], true
}
