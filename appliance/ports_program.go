// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"io"
)

// Program is what to run in a container, and where its input comes from and its
// output goes.
type Program struct {
	Argv []string
	// Env is added to the container's own environment. Nobody sees it but the
	// container's user and root, so it may hold a password; Argv may not.
	Env map[string]string
	// In is its input; nil: nothing. Reading it must not outlast the program, as
	// that of a file does not.
	In  io.Reader
	Out io.Writer // what it prints; nil: nobody wants it
}

// Streamer runs programs in a container whose input or output is large.
type Streamer interface {
	// Stream runs a program in the container, as the container's user, and
	// returns when it has ended. Its error says how, with the program's last
	// words, when it ended with another code than 0.
	Stream(ctx context.Context, id string, p Program) error
}
