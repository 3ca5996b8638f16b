// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// A machine that was lost may come back: it was only without power, or somebody
// repaired it. Meanwhile another one serves, and saves to the same repositories.
// Each repository therefore says whose it is. A recovery takes the next epoch, and
// who finds a higher one than its own writes no more.

// Owner is whose a repository is.
type Owner struct {
	Schema int    `json:"schema"`
	Box    string `json:"box"` // random; another one for each machine
	// Epoch is 1 on a machine that was installed, and one more with each recovery.
	Epoch int64     `json:"epoch"`
	Since time.Time `json:"since"` // when the machine took this epoch
}

// OwnerName is the file beside a repository that says whose it is.
const OwnerName = "rochdale-owner.json"

const (
	ownerSchema = 1
	maxOwner    = 4 << 10 // bytes
	// maxEpoch bounds what is believed of others: no co-op loses so many machines, and
	// there must be a number above it.
	maxEpoch = 1 << 40
)

// errDamagedOwner is a file that nobody can read; it protects nothing any more.
var errDamagedOwner = errors.New("it can not be read")

func parseOwner(data []byte) (Owner, error) {
	var o Owner
	if len(data) > maxOwner || json.Unmarshal(data, &o) != nil || o.Schema < 1 {
		return Owner{}, errDamagedOwner
	}
	if o.Schema > ownerSchema {
		return Owner{}, Problem("backup.owner-newer", nil, "schema", o.Schema, "known", ownerSchema)
	}
	if o.Box == "" || o.Epoch < 1 {
		return Owner{}, errDamagedOwner
	}
	return o, nil
}

func (o Owner) encode() ([]byte, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode an owner: %w", err)
	}
	return append(data, '\n'), nil
}

// ThisBox tells who this machine is as an owner. It makes it up the first time.
func ThisBox(p Paths, files host.Files) (Owner, error) {
	data, err := os.ReadFile(p.Owner())
	if errors.Is(err, fs.ErrNotExist) {
		o := Owner{Schema: ownerSchema, Box: strings.ToLower(rand.Text()), Epoch: 1, Since: time.Now().UTC().Truncate(time.Second)}
		return o, o.keep(p, files)
	}
	if err != nil {
		return Owner{}, fmt.Errorf("read which machine this is: %w", err)
	}
	o, err := parseOwner(data)
	if err != nil {
		return Owner{}, fmt.Errorf("read %s: %w", p.Owner(), err)
	}
	return o, nil
}

func (o Owner) keep(p Paths, files host.Files) error {
	data, err := o.encode()
	if err != nil {
		return err
	}
	return files.Write(p.Owner(), data, host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
}

// ownerOf reads whose the repository is; known is false where nothing says so.
func ownerOf(ctx context.Context, s Shelf, r backups.Repository) (o Owner, known bool, err error) {
	data, err := s.Get(ctx, r, OwnerName)
	if errors.Is(err, fs.ErrNotExist) {
		return Owner{}, false, nil
	}
	if err != nil {
		return Owner{}, false, err
	}
	o, err = parseOwner(data)
	if errors.Is(err, errDamagedOwner) || o.Epoch > maxEpoch {
		return Owner{}, false, nil
	}
	return o, err == nil, err
}

// keepsNoFiles tells whether a place has room for no files but a repository's:
// there nobody can say whose it is.
func keepsNoFiles(err error) bool {
	var p *backups.Problem
	return errors.As(err, &p) && p.ID == "kit.shelf-none"
}

// recovering tells whether a recovery of this machine has not ended.
func (d *Daemon) recovering() bool { return isFile(d.Paths.RescueKit()) }

// mayWrite wants the repository to be this machine's before something is written
// to it. One that is nobody's is taken; so is one of an earlier epoch.
func (d *Daemon) mayWrite(ctx context.Context, r backups.Repository) error {
	if d.recovering() {
		// A snapshot of what is half there would be the newest one.
		return Problem("backup.recovering", nil, "repository", r.Name)
	}
	if d.Shelf == nil {
		return nil
	}
	mine, err := ThisBox(d.Paths, d.files)
	if err != nil {
		return err
	}
	return claim(ctx, d.Shelf, r, mine)
}

func claim(ctx context.Context, s Shelf, r backups.Repository, mine Owner) error {
	theirs, known, err := ownerOf(ctx, s, r)
	switch {
	case keepsNoFiles(err):
		return nil
	case err != nil:
		return err
	case known && theirs.Box == mine.Box && theirs.Epoch >= mine.Epoch:
		return nil
	case known && theirs.Box != mine.Box && theirs.Epoch > mine.Epoch:
		return Problem("backup.replaced", nil, "repository", r.Name, "date", theirs.Since.UTC().Format(time.DateOnly))
	case known && theirs.Box != mine.Box && theirs.Epoch == mine.Epoch:
		return Problem("backup.owned", nil, "repository", r.Name, "date", theirs.Since.UTC().Format(time.DateOnly))
	}
	return putOwner(ctx, s, r, mine)
}

func putOwner(ctx context.Context, s Shelf, r backups.Repository, mine Owner) error {
	data, err := mine.encode()
	if err != nil {
		return err
	}
	return s.Put(ctx, r, OwnerName, data)
}

// TakeOver makes this machine the owner of the repositories, above every epoch
// that they or the kit know of. It may be run again. A repository that can not be
// reached is named in missed: the machine takes it when it first writes there.
func TakeOver(ctx context.Context, p Paths, s Shelf, all []backups.Repository, kit int64) (mine Owner, missed []string, err error) {
	files := host.NewFiles()
	if mine, err = ThisBox(p, files); err != nil {
		return mine, nil, err
	}
	highest := min(kit, maxEpoch)
	for _, r := range all {
		theirs, known, err := ownerOf(ctx, s, r)
		if keepsNoFiles(err) {
			continue
		}
		if err != nil {
			missed = append(missed, r.Name)
			continue
		}
		if known && theirs.Box != mine.Box {
			highest = max(highest, theirs.Epoch)
		}
	}
	if mine.Epoch <= highest {
		mine.Epoch, mine.Since = highest+1, time.Now().UTC().Truncate(time.Second)
		if err := mine.keep(p, files); err != nil { // before anybody else hears of it
			return mine, missed, err
		}
	}
	for _, r := range all {
		if err := claim(ctx, s, r, mine); err != nil {
			missed = append(missed, r.Name)
		}
	}
	slices.Sort(missed)
	return mine, slices.Compact(missed), ctx.Err()
}

// replaced tells whether a run ended because the repository is another machine's.
func replaced(m *Message) bool {
	return m != nil && (m.ID == "backup.replaced" || m.ID == "backup.owned")
}
