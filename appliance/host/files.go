// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Attr is who owns a file and who may read it. The zero uid and gid are root.
type Attr struct {
	Mode     fs.FileMode
	UID, GID int
}

// Disk is the handful of calls that change a disk. [OS] is the real one; the
// recording twin in hosttest replays every prefix of a crash.
type Disk interface {
	// Create makes a new file with what data gives and these attributes; it
	// fails when the file exists. The content is not durable until SyncFile.
	Create(path string, data io.Reader, a Attr) error
	SyncFile(path string) error
	Rename(from, to string) error
	SyncDir(dir string) error
	// SyncAll makes durable whatever was written to the file system of path.
	SyncAll(path string) error
	Remove(path string) error
	Mkdir(path string, a Attr) error
	Symlink(target, path string) error
}

// Files writes files durably: when a call returns nil the change survives a
// power cut, and a crash in the middle leaves the old file or the new one.
type Files struct{ Disk Disk }

// NewFiles gives durable files on the machine's real disk.
func NewFiles() Files { return Files{Disk: OS{}} }

// tempMark is in the name of files that a crash may leave behind.
const tempMark = ".rochdale-tmp"

// Write replaces path by a file with this content: write beside it, fsync,
// rename, fsync the folder. The folder must exist.
func (f Files) Write(path string, data []byte, a Attr) error {
	return f.WriteFrom(path, bytes.NewReader(data), a)
}

// WriteFrom is [Files.Write] for content that is too large to hold in memory.
func (f Files) WriteFrom(path string, data io.Reader, a Attr) error {
	temp := tempName(path)
	if err := f.discard(temp); err != nil {
		return err
	}
	if err := f.Disk.Create(temp, data, a); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.discard(temp))
	}
	if err := f.Disk.SyncFile(temp); err != nil {
		return errors.Join(fmt.Errorf("write %s to the disk: %w", path, err), f.discard(temp))
	}
	return f.replace(temp, path)
}

// Symlink points path at target, replacing what was there in one step.
func (f Files) Symlink(target, path string) error {
	temp := tempName(path)
	if err := f.discard(temp); err != nil {
		return err
	}
	if err := f.Disk.Symlink(target, temp); err != nil {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return f.replace(temp, path)
}

func (f Files) replace(temp, path string) error {
	if err := f.Disk.Rename(temp, path); err != nil {
		return errors.Join(fmt.Errorf("put %s in place: %w", path, err), f.discard(temp))
	}
	if err := f.Disk.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write the folder of %s to the disk: %w", path, err)
	}
	return nil
}

// MkdirAll makes path and the folders above it that are missing, all with the
// same attributes; folders that exist are left as they are.
func (f Files) MkdirAll(path string, a Attr) error {
	path = filepath.Clean(path)
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return nil
		}
		return fmt.Errorf("make folder %s: a file has this name", path)
	}
	if parent := filepath.Dir(path); parent != path {
		if err := f.MkdirAll(parent, a); err != nil {
			return err
		}
	}
	if err := f.Disk.Mkdir(path, a); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder %s: %w", path, err)
	}
	return f.Disk.SyncDir(filepath.Dir(path))
}

// Remove removes the file durably; a file that is not there is no error.
func (f Files) Remove(path string) error {
	err := f.Disk.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return f.Disk.SyncDir(filepath.Dir(path))
}

// SyncAll makes durable what others wrote around path, where nobody knows each file.
func (f Files) SyncAll(path string) error {
	if err := f.Disk.SyncAll(path); err != nil {
		return fmt.Errorf("write the file system of %s to the disk: %w", path, err)
	}
	return nil
}

func (f Files) discard(temp string) error {
	if err := f.Disk.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the leftover %s: %w", temp, err)
	}
	return nil
}

// tempName is fixed, so that a leftover of a crash is found and replaced by the
// next write of the same file. Two writers of one file are a mistake of ours.
func tempName(path string) string {
	dir, base := filepath.Split(path)
	return dir + "." + strings.TrimPrefix(base, ".") + tempMark
}

// OS is the [Disk] of the machine.
type OS struct{}

var _ Disk = OS{}

// Create implements [Disk].
func (OS) Create(path string, data io.Reader, a Attr) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, data); err != nil {
		return err
	}
	if err := own(file.Chown, a); err != nil {
		return err
	}
	return file.Chmod(a.Mode)
}

// SyncFile implements [Disk].
func (OS) SyncFile(path string) error { return syncPath(path) }

// SyncDir implements [Disk].
func (OS) SyncDir(dir string) error { return syncPath(dir) }

// SyncAll implements [Disk].
func (OS) SyncAll(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return unix.Syncfs(int(file.Fd()))
}

// Rename implements [Disk].
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements [Disk].
func (OS) Remove(path string) error { return os.Remove(path) }

// Symlink implements [Disk].
func (OS) Symlink(target, path string) error { return os.Symlink(target, path) }

// Mkdir implements [Disk].
func (OS) Mkdir(path string, a Attr) error {
	if err := os.Mkdir(path, a.Mode.Perm()); err != nil {
		return err
	}
	if err := os.Chmod(path, a.Mode); err != nil {
		return err
	}
	return own(func(uid, gid int) error { return os.Chown(path, uid, gid) }, a)
}

// own changes the owner only where it differs from us, so that tests run
// without root.
func own(chown func(uid, gid int) error, a Attr) error {
	if a.UID == os.Geteuid() && a.GID == os.Getegid() {
		return nil
	}
	if os.Geteuid() != 0 && a.UID == 0 && a.GID == 0 {
		return nil
	}
	return chown(a.UID, a.GID)
}

func syncPath(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return file.Sync()
}
