// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"rochdale/appliance"
)

// Lock keeps two installations or removals from running at once. It lies where
// nothing that we remove can take it away, and ends with the process.
type Lock struct{ file *os.File }

// TakeLock takes the lock, or says who has it.
func TakeLock(d Deps) (*Lock, error) {
	path := d.at("run/rochdale-install.lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, privateFile)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, readErr := io.ReadAll(io.LimitReader(file, 32))
		return nil, errors.Join(appliance.Problem("install.locked", readErr, "pid", strings.TrimSpace(string(holder))).
			WithCode(appliance.ExitLocked), file.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take the lock: %w", err), file.Close())
	}
	if err := errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lock{file: file}, nil
}

func writeAt(file *os.File, s string) error {
	_, err := file.WriteAt([]byte(s), 0)
	return err
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.file.Close() }
