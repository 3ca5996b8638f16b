// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Heal repairs what a check found, in an order in which the least is lost:
//
//  1. the index is made anew from the packs that are there;
//  2. broken packs are taken apart, and what is whole in them is kept;
//  3. again makes forced backups of everything that this machine still has.
//     They put back what older snapshots lack too, byte for byte;
//  4. snapshots that lack something nevertheless are replaced by ones without it.
//
// It stops where a step fails, before the next one loses anything. Whoever calls
// it checks the parts that failed afterwards. It may be called again, with the
// same report, after it was interrupted anywhere.
//
// Where nothing may be deleted it is the first step, as far as it adds something, and the
// forced backups, which add what no index lists then. A pack that an index lists stays
// broken, and with it all that needs it: that is for whoever runs the place to repair.
func (d *Door) Heal(ctx context.Context, r Repository, report CheckReport, again func(context.Context) error) (Healed, error) {
	var done Healed
	if r.AppendOnly {
		refused := d.RepairIndex(ctx, r)
		if isProblem(refused, "backups.interrupted") {
			return done, refused
		}
		return done, errors.Join(again(ctx), refused)
	}
	if err := d.RepairIndex(ctx, r); err != nil {
		return done, err
	}
	packs, err := d.there(ctx, r, report.BrokenPacks)
	if err != nil {
		return done, err
	}
	if err := d.RepairPacks(ctx, r, packs); err != nil {
		return done, err
	}
	done.Packs = packs
	if err := again(ctx); err != nil {
		return done, err
	}
	before, err := d.Snapshots(ctx, r)
	if err != nil {
		return done, err
	}
	if err := d.RepairSnapshots(ctx, r); err != nil {
		return done, err
	}
	after, err := d.Snapshots(ctx, r)
	done.Gone, done.New = missing(before, after), missing(after, before)
	return done, err
}

// missing are the ids of a that b does not have.
func missing(a, b []Snapshot) (ids []string) {
	for _, s := range a {
		if !slices.ContainsFunc(b, func(t Snapshot) bool { return t.ID == s.ID }) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// there gives those packs that the repository still has.
func (d *Door) there(ctx context.Context, r Repository, packs []string) ([]string, error) {
	if len(packs) == 0 {
		return nil, nil
	}
	o, err := d.run(ctx, r, "list", "packs")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(o.Stdout)) {
		known[strings.TrimSpace(line)] = true
	}
	return slices.DeleteFunc(slices.Clone(packs), func(id string) bool { return !known[id] }), nil
}

// RepairIndex makes the index anew from the packs that are there. Damaged files
// of snapshots, which stop every other command, are set aside before where that
// can be done: in the folder "damaged" of a local repository.
func (d *Door) RepairIndex(ctx context.Context, r Repository) error {
	if err := r.setAside("snapshots", 0); err != nil {
		return err
	}
	_, err := d.run(ctx, r, "repair", "index")
	return err
}

// repairAtOnce bounds the disk that RepairPacks needs: restic puts a copy of
// each pack, of about 16 MB, into its working folder.
const repairAtOnce = 8

// RepairPacks saves what is whole in broken packs, and removes these.
func (d *Door) RepairPacks(ctx context.Context, r Repository, packs []string) error {
	for some := range slices.Chunk(packs, repairAtOnce) {
		if err := d.repairSome(ctx, r, some); err != nil {
			return err
		}
	}
	return nil
}

func (d *Door) repairSome(ctx context.Context, r Repository, packs []string) error {
	dir, err := os.MkdirTemp(d.Temp, "repair-")
	if err != nil {
		return r.failed(err)
	}
	c := d.call(r, append([]string{"repair", "packs", "--"}, packs...)...)
	c.Dir = dir
	_, err = d.runCall(ctx, r, c)
	if gone := os.RemoveAll(dir); err == nil && gone != nil {
		return r.failed(gone)
	}
	return err
}

// RepairSnapshots replaces snapshots that lack something by ones without it.
// What a new forced backup could have healed is lost for them: do that before.
func (d *Door) RepairSnapshots(ctx context.Context, r Repository) error {
	_, err := d.run(ctx, r, "repair", "snapshots", "--forget")
	return err
}

// staleLock is the age at which restic itself takes a lock for one of nobody.
const staleLock = 30 * time.Minute

// setAside moves damaged files of a local repository into its folder "damaged",
// which restic does not look at. It knows them by their names, which are the
// SHA-256 of their content; none of them can be read any more. restic has no
// command for this, and on other kinds of repositories it is left to people.
func (r Repository) setAside(folder string, age time.Duration) error {
	if r.Kind() != Local {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(escape(r.URL), folder, "*"))
	for _, f := range files {
		if err == nil {
			err = setAsideOne(f, filepath.Join(r.URL, "damaged"), age)
		}
	}
	if err != nil {
		return r.failed(err)
	}
	return nil
}

func setAsideOne(file, aside string, age time.Duration) error {
	name := filepath.Base(file)
	info, err := os.Lstat(file)
	if errors.Is(err, os.ErrNotExist) || err == nil && (len(name) != 2*sha256.Size || time.Since(info.ModTime()) < age) {
		return nil
	}
	if err != nil {
		return err
	}
	sum := ""
	if info.Mode().IsRegular() { // a pipe would be waited for, a device read for ever
		sum, err = sumOf(file)
	}
	if errors.Is(err, os.ErrNotExist) || err == nil && sum == name {
		return nil
	}
	if err := errors.Join(err, os.MkdirAll(aside, 0o700)); err != nil {
		return err
	}
	err = os.Rename(file, filepath.Join(aside, filepath.Base(filepath.Dir(file))+"-"+name))
	if errors.Is(err, os.ErrNotExist) {
		return nil // whoever made it has removed it meanwhile
	}
	return err
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
