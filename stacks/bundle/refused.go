// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"errors"
	"fmt"
	"strings"
)

// ErrBuiltWithout is in the chain of what [Embedded] returns in a program that
// was built without bundles.
var ErrBuiltWithout = errors.New("built without bundles")

// Refused says why a bundle was not taken. The message catalogues have, under
// its id, what happened, why it matters and what to do.
type Refused struct {
	ID   string // "stack.bundle.…"
	Args map[string]string
	Err  error // the cause; may be nil
}

// Error is the reason in one English line.
func (e *Refused) Error() string {
	pairs := make([]string, 0, 2*len(e.Args))
	for name, value := range e.Args {
		pairs = append(pairs, "{"+name+"}", value)
	}
	text := strings.NewReplacer(pairs...).Replace(wordsOf(e.ID))
	if e.Err == nil {
		return text
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

// Unwrap gives the cause.
func (e *Refused) Unwrap() error { return e.Err }

// refuse makes a [Refused]; pairs are argument names and values.
func refuse(id string, cause error, pairs ...string) error {
	args := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		args[pairs[i]] = clip(pairs[i+1])
	}
	return &Refused{ID: "stack.bundle." + id, Args: args, Err: cause}
}

// clip keeps what a hostile archive can put into a message short and plain.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Trim(fmt.Sprintf("%q", s), `"`)
}

// wordsOf is the English text of an id.
func wordsOf(id string) string {
	for _, w := range reasons() {
		if w[0] == id {
			return w[1]
		}
	}
	return id
}

// reasons are all ids with their English texts.
func reasons() [][2]string {
	return [][2]string{
		{"stack.bundle.built-without", "this program was built without the stack {name}"},
		{"stack.bundle.unknown", "there is no stack {name}"},
		{"stack.bundle.format", "this is not a bundle that can be read: {reason}"},
		{"stack.bundle.schema", "the bundle has schema {schema}, which is newer than this program"},
		{"stack.bundle.other", "the bundle is {got}, and {want} was expected"},
		{"stack.bundle.digest", "{path} is not what the bundle's index says"},
		{"stack.bundle.cut", "the bundle is damaged, or ends too early: {path} is not complete"},
		{"stack.bundle.extra", "{path} does not belong to the bundle"},
		{"stack.bundle.missing", "{path} is missing from the bundle"},
		{"stack.bundle.size", "{path} is larger than a bundle may have"},
		{"stack.bundle.name", "{path} is not a name that a bundle may have"},
		{"stack.bundle.arch", "the release {stack} has no image of {image} for {arch}"},
		{"stack.bundle.image", "the image {image} is not both used in compose.yaml and listed for every architecture"},
		{"stack.bundle.image-content", "the image in {path} can not be taken: {reason}"},
		{"stack.bundle.pull", "the image {image} does not travel in this bundle"},
		{"stack.bundle.space", "the disk of {path} has {free} free, and the bundle needs {needed}"},
		{"stack.bundle.write", "the bundle cannot be written to {path}"},
	}
}
