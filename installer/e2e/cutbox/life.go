// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"rochdale/appliance/host"
	"rochdale/appliance/state"
)

// box is what the work of a life is done with.
type box struct {
	*console
	files host.Files
	db    *state.DB
}

// work is one line of work, counted in turns from 1.
type work interface {
	// check wants what the life before left to be old or new, and tells what it
	// found. It changes nothing.
	check(ctx context.Context) error
	// resume goes on with what was interrupted.
	resume(ctx context.Context) error
	// turn is what there is to do once more.
	turn(ctx context.Context) error
}

func (b *box) works() map[string]work {
	return map[string]work{
		"rows": &rows{box: b}, "plans": &plans{box: b}, "files": &files{box: b}, "self": newSelf(b), "noise": &noise{box: b},
	}
}

// live looks, goes on, and works until the power goes.
func live(ctx context.Context, o Order, c *console) error {
	b := &box{console: c, files: host.Files{Disk: forgetful{skip: o.Skip}}}
	path := filepath.Join(home, "state/state.db")
	var err error
	if b.db, err = state.Open(ctx, path); err != nil {
		return err
	}
	if err := integrity(ctx, path); err != nil {
		return err
	}
	var chosen []work
	for name, w := range b.works() {
		if !slices.Contains(o.Work, name) {
			continue
		}
		if err := w.check(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		chosen = append(chosen, w)
	}
	// Only now: what one of them mends must not be taken for what was left.
	for _, w := range chosen {
		if err := w.resume(ctx); err != nil {
			return fmt.Errorf("go on: %w", err)
		}
	}
	c.say("checked")
	return forever(ctx, chosen)
}

// forever lets all work at once, until one fails.
func forever(ctx context.Context, all []work) error {
	failed := make(chan error, len(all))
	for _, w := range all {
		go func() {
			for {
				if err := w.turn(ctx); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return fmt.Errorf("at work: %w", <-failed)
}

// integrity asks SQLite for its own full check.
func integrity(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(15000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var answer string
	if err := db.QueryRowContext(ctx, "pragma integrity_check(1)").Scan(&answer); err != nil {
		return fmt.Errorf("integrity_check: %w", err)
	}
	if answer != "ok" {
		return fmt.Errorf("integrity_check: %s", answer)
	}
	return nil
}

// forgetful is the disk of a program that forgets to wait for what it wrote. It
// proves that the test would find one.
type forgetful struct {
	host.OS
	skip string
}

var _ host.Disk = forgetful{}

// SyncFile implements [host.Disk].
func (f forgetful) SyncFile(path string) error {
	if f.skip == "file" {
		return nil
	}
	return f.OS.SyncFile(path)
}

// SyncDir implements [host.Disk].
func (f forgetful) SyncDir(dir string) error {
	if f.skip == "folder" {
		return nil
	}
	return f.OS.SyncDir(dir)
}

func mine(mode os.FileMode) host.Attr { return host.Attr{Mode: mode} }
