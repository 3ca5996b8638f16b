// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// noise is everybody else on a box: it writes, and waits for nothing. So the disk
// has more in its cache to lose, between what the others wait for.
type noise struct {
	*box
	n int64
}

func (w *noise) check(context.Context) error { return nil }
func (w *noise) resume(context.Context) error {
	return os.MkdirAll(filepath.Join(home, "noise"), 0o755)
}

func (w *noise) turn(context.Context) (err error) {
	const files, pause = 5, 40 * time.Millisecond
	w.n++
	time.Sleep(pause)
	file, err := os.OpenFile(filepath.Join(home, "noise", strconv.FormatInt(w.n%files, 10)), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size := 4096 * (1 + w.n*7%40)
	if err := errors.Join(file.Truncate(size/2), unix.Fallocate(int(file.Fd()), 0, 0, size)); err != nil {
		return err
	}
	for at := int64(0); at < size; at += 2 * 4096 { // with holes, so that they are many writes
		if _, err := file.WriteAt(fmt.Appendf(nil, "noise %d", w.n), at); err != nil {
			return err
		}
	}
	return unix.SyncFileRange(int(file.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
