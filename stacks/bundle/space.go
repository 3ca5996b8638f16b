// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// margin is what must stay free when a bundle was unpacked and its images
	// were loaded: databases, logs and the machine itself go on writing.
	margin = 256 << 20
	// engineCopies is how often the engine writes an image that it loads: it
	// keeps the archive until its layers are unpacked.
	engineCopies = 2
	// maxTotal is what all files of a bundle may have together.
	maxTotal = 16 << 30
	// slack is what an archive may have beside its files: headers, paddings and
	// frames, and what a compressor makes of content that it can not shorten.
	slack = 8 << 20
)

// total are the bytes of all files.
func (x index) total() (bytes int64) {
	for _, e := range x {
		bytes += e.size
	}
	return bytes
}

// needs is the free space that a bundle takes on this machine, in bytes.
func (a *archive) needs() int64 {
	bytes := int64(margin + len(a.text))
	for _, e := range a.index {
		image, ok := a.locks.find(e.path)
		switch {
		case !ok:
			bytes += e.size
		case image.Arch == MachineArch():
			bytes += (1 + engineCopies) * e.size
		}
	}
	return bytes
}

// room refuses a bundle that does not fit, before anything of it is written.
func (s Store) room(a *archive) error {
	free := s.Free
	if free == nil {
		free = freeIn
	}
	have, err := free(s.Dir)
	if err != nil {
		return refuse("write", err, "path", s.Dir)
	}
	if needs := a.needs(); have < needs {
		return refuse("space", nil, "path", s.Dir, "free", mebibytes(have), "needed", mebibytes(needs))
	}
	return nil
}

// freeIn is the space in which a service may write on the disk of a folder.
func freeIn(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // the sizes differ between machines
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// errTooLong is in the chain of what reading gives when an archive does not end
// where its index says.
var errTooLong = errors.New("it is longer than its index says")

// bounded ends the reading of an archive that is longer than it may be.
type bounded struct {
	from io.Reader
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
