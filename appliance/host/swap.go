// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Swap makes swap files.
type Swap struct {
	Runner Runner
	Files  Files
}

// Make makes a swap file of size bytes; one that is there with this size stays.
// The file system must be one whose files can be swapped to without ado (ext4, xfs).
func (s Swap) Make(ctx context.Context, path string, size int64) error {
	if info, err := os.Stat(path); err == nil && info.Size() == size {
		return nil
	}
	temp := tempName(path)
	if err := s.Files.discard(temp); err != nil {
		return err
	}
	if err := reserve(temp, size); err != nil {
		return errors.Join(fmt.Errorf("make the swap file %s: %w", path, err), s.Files.discard(temp))
	}
	if _, err := s.Runner.Run(ctx, Command{Name: "mkswap", Args: []string{temp}}); err != nil {
		return errors.Join(err, s.Files.discard(temp))
	}
	if err := syncPath(temp); err != nil {
		return fmt.Errorf("write %s to the disk: %w", path, err)
	}
	if err := s.Files.MkdirAll(filepath.Dir(path), Attr{Mode: 0o755}); err != nil {
		return err
	}
	return s.Files.replace(temp, path)
}

// reserve makes a file without holes.
func reserve(path string, size int64) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return unix.Fallocate(int(file.Fd()), 0, 0, size)
}
