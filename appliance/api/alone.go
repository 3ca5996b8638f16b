// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"rochdale/appliance"
)

// Alone makes this process the only daemon until it ends or closes what it gets.
// A second one would take the socket away from the first, and both would work on
// the same jobs. The file at path stays; the kernel keeps who has it.
func Alone(path string) (io.Closer, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the daemon's lock: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return file, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(appliance.Problem("daemon.second", nil).WithCode(appliance.ExitLocked), file.Close())
	default:
		return nil, errors.Join(fmt.Errorf("take the daemon's lock: %w", err), file.Close())
	}
}
