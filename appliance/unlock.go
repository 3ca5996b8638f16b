// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// A repository's password may be all that opens years of snapshots. It is made once,
// with the repository, and no other is ever taken for it: neither a new one for one that
// was lost, nor in the recovery kit one that opened nothing.

// unlockable makes the password of a repository that has none yet, if there is no
// repository yet either. One that is there is never replaced.
func (d *Daemon) unlockable(ctx context.Context, r backups.Repository) error {
	if _, err := os.Lstat(r.PasswordFile); !errors.Is(err, fs.ErrNotExist) {
		return err // nobody waits for what is there
	}
	leave, err := d.secrets.take(ctx, r.Name)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := os.Lstat(r.PasswordFile); !errors.Is(err, fs.ErrNotExist) {
		return err // it was made meanwhile
	}
	if r.Name != BoxRepository { // the box's own is made anew when it is gone
		made, err := d.wasMade(ctx, r.Name)
		if err != nil {
			return err
		}
		if made {
			return passwordMissing(r)
		}
	}
	private := host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}
	if err := d.files.MkdirAll(filepath.Dir(r.PasswordFile), private); err != nil {
		return err
	}
	private.Mode = 0o600
	password := []byte(rand.Text() + rand.Text() + "\n")
	try := r
	try.PasswordFile += ".new"
	if err := d.files.Write(try.PasswordFile, password, private); err != nil {
		return err
	}
	_, err = d.Vault.Identify(ctx, try)
	if err := d.files.Remove(try.PasswordFile); err != nil {
		return err
	}
	switch {
	case refusedBy(err, "backups.no-repository"):
		return d.files.Write(r.PasswordFile, password, private)
	case opensNothing(err):
		return d.taken(ctx, r)
	}
	return err
}

// turns let one at a time have a name. Who has it may ask the other side, which takes as
// long as that likes: others wait only for the same name, and no longer than they may.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed when it is free again
}

func (t *turns) take(ctx context.Context, name string) (leave func(), err error) {
	for {
		t.mu.Lock()
		before, taken := t.taken[name]
		if !taken {
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			t.taken[name] = mine
			t.mu.Unlock()
			return func() { t.leave(name, mine) }, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (t *turns) leave(name string, mine chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.taken, name)
	close(mine)
}

// wasMade tells whether a repository was there at any time.
func (d *Daemon) wasMade(ctx context.Context, repository string) (bool, error) {
	record, err := ReadRecovery(d.Paths)
	if err != nil || record.IDs[repository] != "" {
		return err == nil, err
	}
	return d.hadSnapshots(ctx, repository)
}

func passwordMissing(r backups.Repository) error {
	return Problem("backup.password-missing", nil, "repository", r.Name, "file", r.PasswordFile)
}

// taken tells of a repository that is there, with a password that is not here under
// its name. The file of another name that opens it is named: it was renamed.
func (d *Daemon) taken(ctx context.Context, r backups.Repository) error {
	others, err := filepath.Glob(filepath.Join(filepath.Dir(r.PasswordFile), "*.password"))
	if err != nil {
		return err
	}
	for _, file := range others {
		try := r
		try.PasswordFile = file
		if _, err := d.Vault.Identify(ctx, try); err == nil {
			return Problem("backup.password-renamed", nil, "repository", r.Name, "file", r.PasswordFile, "other", file)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return passwordMissing(r)
}

// refusedBy tells whether an answer of a repository is one of these.
func refusedBy(err error, ids ...string) bool {
	var p *backups.Problem
	return errors.As(err, &p) && slices.Contains(ids, p.ID)
}

// opensNothing tells whether a repository is there, and the password is not its.
func opensNothing(err error) bool {
	return refusedBy(err, "backups.no-key-fits", "backups.wrong-password")
}

// PasswordPrint tells one password from another, and holds none.
func PasswordPrint(password []byte) string {
	sum := sha256.Sum256([]byte(strings.TrimRight(string(password), "\r\n")))
	return hex.EncodeToString(sum[:]) + "\n"
}

// met notes that a repository was opened: its id, and with which password. That it
// could not be kept costs another look later.
func (d *Daemon) met(r backups.Repository, id string) {
	d.kits.met(r.Name, id)
	password, err := os.ReadFile(r.PasswordFile)
	if err == nil {
		err = d.keepProven(r.Name, PasswordPrint(password))
	}
	if err != nil {
		d.Log.Warn("which password opened a repository is not kept", "repository", r.Name, "error", err)
	}
}

func (d *Daemon) keepProven(repository, now string) error {
	if old, err := os.ReadFile(d.Paths.Proven(repository)); err == nil && string(old) == now {
		return nil
	}
	private := host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}
	if err := d.files.MkdirAll(d.Paths.KitFolder(), private); err != nil {
		return err
	}
	private.Mode = 0o600
	return d.files.Write(d.Paths.Proven(repository), []byte(now), private)
}

// provable keeps a kit from being made with passwords that opened nothing. That of a
// repository that was made before has to be the one that opened it last, or to open it
// now: else no kit is made at all, and the one before stays. One that was never made
// and refuses its password is left out.
func (d *Daemon) provable(ctx context.Context, all []backups.Repository) (some []backups.Repository, without []string, err error) {
	for _, r := range all {
		why := d.proven(ctx, r)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		made := false
		if why != nil {
			if made, err = d.wasMade(ctx, r.Name); err != nil {
				return nil, nil, err
			}
		}
		switch {
		case made:
			return nil, nil, why
		case opensNothing(why):
			without = append(without, r.Name)
		default:
			some = append(some, r)
		}
	}
	return some, without, nil
}

// proven wants the password of a repository to be the one that opens it.
func (d *Daemon) proven(ctx context.Context, r backups.Repository) error {
	password, err := os.ReadFile(r.PasswordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return passwordMissing(r)
	}
	if err != nil {
		return err
	}
	if kept, err := os.ReadFile(d.Paths.Proven(r.Name)); err == nil && string(kept) == PasswordPrint(password) {
		return nil
	}
	_, err = d.Vault.Identify(ctx, r)
	if err == nil {
		return d.keepProven(r.Name, PasswordPrint(password))
	}
	if opensNothing(err) {
		return err
	}
	return Problem("recovery.password-unproven", err, "repository", r.Name)
}
