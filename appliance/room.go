// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"path/filepath"

	"rochdale/appliance/step"
)

// spareDisk is what a change leaves free beside the copy of the data, in bytes:
// logs, state and the stack itself go on writing.
const spareDisk = 256 << 20

// dataDir is the folder of all generations of a stack.
func dataDir(p Paths, stack string) string { return filepath.Dir(p.Generation(stack, 1)) }

// room wants space for a second copy of the data, and memory for the new release,
// before anything is touched.
func (t *transition) room(ctx context.Context, _ step.Report) error {
	from, err := t.place(ctx, t.from)
	if err != nil {
		return err
	}
	size, err := t.Data.Size(ctx, from)
	if err != nil {
		return err
	}
	free, err := t.Space.Free(dataDir(t.Paths, t.Stack))
	if err != nil {
		return err
	}
	if free < size+spareDisk {
		return Problem("update.no-room", nil, "stack", t.Stack, "need", mebibytes(size+spareDisk), "free", mebibytes(free))
	}
	return t.memoryFor(t.to)
}

// memoryFor wants what the new release needs beyond what the old one gives back.
func (t *transition) memoryFor(c *crew) error {
	more := c.bundle.Stack.Manifest.Needs.Memory - t.from.bundle.Stack.Manifest.Needs.Memory
	if more <= 0 {
		return nil
	}
	free, err := t.Space.Memory()
	if err != nil {
		return err
	}
	if free < more {
		return Problem("update.no-memory", nil, "stack", t.Stack, "need", mebibytes(more), "free", mebibytes(free))
	}
	return nil
}

func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }
