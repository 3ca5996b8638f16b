// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"io"
	"testing"

	"rochdale/appliance"
)

// endless is the dump of a server that lies about its size.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestSparing(t *testing.T) {
	free, written := int64(400<<20), int64(0)
	s := &sparing{from: endless{}, free: func() (int64, error) { return free - written, nil }}
	written, err := io.CopyBuffer(struct{ io.Writer }{counting{&written}}, s, make([]byte, 1<<20))
	if !noRoom(err) || free-written < appliance.LeastFree-spareLook {
		t.Errorf("%d bytes of %d, %v", written, free, err)
	}
}

type counting struct{ n *int64 }

func (c counting) Write(p []byte) (int, error) {
	*c.n += int64(len(p))
	return len(p), nil
}
