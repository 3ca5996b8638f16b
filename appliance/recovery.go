// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// KitName is what a recovery kit is called, wherever it lies.
const KitName = "rochdale-kit.age"

const (
	recoverySchema = 1
	maxRecovery    = 512 << 10 // bytes
)

// RecoveryRecord is what a box keeps of its printed pages and of its kits. Of the
// pages it has the public half alone: it can seal a kit, and open none.
type RecoveryRecord struct {
	Schema    int       `json:"schema"`
	Recipient string    `json:"recipient"` // empty: nothing was printed yet
	Set       string    `json:"set"`       // name of the printing, as on the pages
	Need      int       `json:"need"`      // as many pages open a kit
	Of        int       `json:"of"`        // as many were printed
	Printed   time.Time `json:"printed,omitzero"`
	// Checks are the kept halves of the check codes.
	Checks json.RawMessage `json:"checks,omitempty"`
	// IDs are restic's, by repository.
	IDs map[string]string `json:"ids,omitempty"`
	Kit SealedKit         `json:"kit"`
	// Published is which kit lies beside a repository, by its serial number.
	Published map[string]int64 `json:"published,omitempty"`
	// Copied is the co-op's own copy.
	Copied KitCopy `json:"copied"`
}

// KitCopy is a copy of a kit that the co-op took away.
type KitCopy struct {
	Serial int64     `json:"serial,omitempty"` // 0: none was ever taken
	At     time.Time `json:"at,omitzero"`
	// Recipient is of the pages that open it; empty where nobody noted it.
	Recipient string `json:"recipient,omitempty"`
}

// ReadRecovery reads the record; without one it is empty.
func ReadRecovery(p Paths) (RecoveryRecord, error) { return ReadRecoveryFile(p.Recovery()) }

// ReadRecoveryFile reads a record that lies elsewhere, as [ReadRecovery] does.
func ReadRecoveryFile(path string) (RecoveryRecord, error) {
	r := RecoveryRecord{Schema: recoverySchema}
	f, err := OpenConfig(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	data, err := readBounded(f, maxRecovery)
	if err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, Problem("recovery.record-damaged", err, "path", path)
	}
	if r.Schema > recoverySchema {
		return r, Problem("recovery.record-newer", nil, "path", path, "schema", r.Schema, "known", recoverySchema)
	}
	return r, nil
}

// Keep writes the record durably.
func (r RecoveryRecord) Keep(p Paths, files host.Files) error {
	r.Schema = recoverySchema
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode what is known of the recovery: %w", err)
	}
	data = append(data, '\n')
	if old, err := os.ReadFile(p.Recovery()); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return files.Write(p.Recovery(), data, host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
}

// keeping is the daemon's work on its recovery kit. Whoever reads the record to
// change it holds mu.
type keeping struct {
	mu sync.Mutex
	// ids are restic's, by repository, as this process has met them.
	ids map[string]string
	// wake asks for a look at the kit: true looks also whether it lies where it was put.
	wake chan bool

	told    sync.Mutex
	trouble *Message // why the last look ended badly
	slips   []time.Time
}

func newKeeping() *keeping { return &keeping{ids: map[string]string{}, wake: make(chan bool, 1)} }

// poke asks for one look; several at once are one.
func (k *keeping) poke(whole bool) {
	select {
	case k.wake <- whole:
	default:
	}
}

// met notes the id of a repository.
func (k *keeping) met(repository, id string) {
	k.told.Lock()
	defer k.told.Unlock()
	k.ids[repository] = id
}

func (k *keeping) idsOver(known map[string]string) map[string]string {
	k.told.Lock()
	defer k.told.Unlock()
	all := map[string]string{}
	for name, id := range known {
		all[name] = id
	}
	for name, id := range k.ids {
		all[name] = id
	}
	return all
}

func (k *keeping) note(trouble *Message) {
	k.told.Lock()
	defer k.told.Unlock()
	k.trouble = trouble
}

func (k *keeping) lastTrouble() *Message {
	k.told.Lock()
	defer k.told.Unlock()
	return k.trouble
}

// RecoveryState is how it stands with the kit and the pages.
type RecoveryState struct {
	Schema  int       `json:"schema"`
	Name    string    `json:"name"` // of the co-op, as on the pages
	Domain  string    `json:"domain"`
	Set     string    `json:"set,omitempty"`
	Need    int       `json:"need,omitempty"`
	Of      int       `json:"of,omitempty"`
	Printed time.Time `json:"printed,omitzero"`
	// Serial and Issued are of the kit that holds now; 0 for none.
	Serial int64       `json:"serial,omitempty"`
	Issued time.Time   `json:"issued,omitzero"`
	Copied KitCopy     `json:"copied"`
	Pages  []PageState `json:"pages"`
	// Places are the addresses away from this machine that have a kit beside them.
	Places []string `json:"places"`
	// Disks are the folders of repositories on disks beside this machine.
	Disks   []string `json:"disks"`
	Trouble *Message `json:"trouble,omitempty"`
}

// Recovery tells how it stands with the kit and the pages.
func (d *Daemon) Recovery(context.Context) (RecoveryState, error) {
	r, err := ReadRecovery(d.Paths)
	if err != nil {
		return RecoveryState{}, err
	}
	return d.recoveryState(r)
}

func (d *Daemon) recoveryState(r RecoveryRecord) (RecoveryState, error) {
	s := RecoveryState{
		Schema: 1, Set: r.Set, Need: r.Need, Of: r.Of, Printed: r.Printed, Serial: r.Kit.Serial, Issued: r.Kit.Issued,
		Copied: r.Copied, Pages: []PageState{}, Places: d.places(), Disks: d.disks(), Trouble: d.kits.lastTrouble(),
	}
	s.Name, s.Domain = d.identity()
	if len(r.Checks) == 0 || d.Kits == nil {
		return s, nil
	}
	var err error
	s.Pages, err = d.Kits.Pages(r.Checks)
	return s, readable(err)
}

// identity is whose machine this is, in words.
func (d *Daemon) identity() (name, domain string) {
	c, _ := d.config.get()
	all := sortedNames(c.Stacks)
	if len(all) == 0 {
		return "", ""
	}
	first := c.Stacks[all[0]]
	return cmp.Or(first.Name, first.Domain), first.Domain
}

// places are where somebody finds the kit when the machine is lost.
func (d *Daemon) places() []string {
	all := []string{}
	for _, r := range d.repositories() {
		if k := r.Kind(); k == backups.SFTP || k == backups.S3 {
			all = append(all, r.URL)
		}
	}
	return all
}

// disks are folders that have to be there again for a recovery from a disk.
func (d *Daemon) disks() []string {
	all := []string{}
	for _, r := range d.repositories() {
		if r.Kind() == backups.Local && r.Name != BoxRepository {
			all = append(all, r.URL)
		}
	}
	return all
}

// Printing is the public half of pages that were printed.
type Printing struct {
	Recipient string          `json:"recipient"`
	Set       string          `json:"set"`
	Need      int             `json:"need"`
	Of        int             `json:"of"`
	Checks    json.RawMessage `json:"checks"`
}

// Printed takes note of pages that were printed: kits are sealed for them from
// now on. Pages of an earlier printing open the kits of their time.
func (d *Daemon) Printed(ctx context.Context, p Printing) (RecoveryState, error) {
	if p.Recipient == "" || p.Need < 1 || p.Of < p.Need || d.Kits == nil {
		return RecoveryState{}, Problem("daemon.request", nil, "detail", "pages").WithCode(ExitUsage)
	}
	if _, err := d.Kits.Pages(p.Checks); err != nil {
		return RecoveryState{}, readable(err)
	}
	err := d.amendRecovery(func(r *RecoveryRecord) error {
		r.Recipient, r.Set, r.Need, r.Of, r.Checks = p.Recipient, p.Set, p.Need, p.Of, p.Checks
		r.Printed = time.Now().UTC().Truncate(time.Second)
		return nil
	})
	if err != nil {
		return RecoveryState{}, err
	}
	_ = d.reissue(ctx, false) // it is in the state
	return d.Recovery(ctx)
}

// amendRecovery changes the record on the disk.
func (d *Daemon) amendRecovery(change func(*RecoveryRecord) error) error {
	d.kits.mu.Lock()
	defer d.kits.mu.Unlock()
	r, err := ReadRecovery(d.Paths)
	if err != nil {
		return err
	}
	if err := change(&r); err != nil {
		return err
	}
	return r.Keep(d.Paths, d.files)
}
