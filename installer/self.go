// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// Self updates Rochdale itself: it brings another program, sets it on trial, and
// either proves it or puts the one before it back.
type Self struct {
	Deps
	// Witness may be nil where nothing is asked of the running box.
	Witness Witness
}

// Witness tells what answers on the box; cmd fills it with the clients of
// daemon and edge.
type Witness interface {
	// Status is what the daemon says.
	Status(ctx context.Context) (appliance.Status, error)
	// Edge asks the edge for a sign of life.
	Edge(ctx context.Context) error
	// Web asks for the host's first page, as a visitor would.
	Web(ctx context.Context, host string) error
}

// Build is one program of ours on this machine.
type Build struct {
	Version string `json:"version"` // a label for people
	Program string `json:"program"` // its folder under versions/, which bears its digest
}

// ChangeOutcome is how a change of our own program ended.
type ChangeOutcome string

// The outcomes.
const (
	Proven    ChangeOutcome = "proven"
	PutBack   ChangeOutcome = "put-back"  // it failed; the program before it runs, and this one is marked bad
	GaveUp    ChangeOutcome = "gave-up"   // it never ran, for reasons that are not its own
	Overtaken ChangeOutcome = "overtaken" // an installation chose another program meanwhile
)

// SelfChange is one attempt to run another program.
type SelfChange struct {
	ID    string    `json:"id"`   // ULID
	Kind  string    `json:"kind"` // "update" or "rollback"
	To    Build     `json:"to"`
	From  Build     `json:"from"`
	Began time.Time `json:"began"`
	// Ended is zero while it is on trial.
	Ended   time.Time          `json:"ended,omitzero"`
	Outcome ChangeOutcome      `json:"outcome,omitempty"`
	Reason  *appliance.Message `json:"reason,omitempty"`
	// Torn: the program before it runs, but its own units and files could not
	// all be written again.
	Torn bool `json:"torn,omitempty"`
}

// Phase is how far a trial has come.
type Phase string

// The phases of a trial. A failed one goes from any of them to the last.
const (
	Applying Phase = "applying" // the new program's install plan runs
	Watching Phase = "watching" // it runs and has to prove itself
	Backing  Phase = "backing"  // the program before it takes over again
)

// Trial is a change that is under way.
type Trial struct {
	SelfChange
	Phase Phase `json:"phase"`
	// Starts counts, by link, how often a unit was started with the new program.
	Starts map[string]int `json:"starts,omitempty"`
	// Tries counts the runs of the install plan of this phase.
	Tries int `json:"tries,omitempty"`
	// Before are the stacks that ran before it: they have to again.
	Before []Ran `json:"before,omitempty"`
}

// Ran is a stack that ran before a change.
type Ran struct {
	Stack string `json:"stack"`
	// Answered: a visitor got an answer.
	Answered bool `json:"answered,omitempty"`
}

// Bad says why a program must not run again.
type Bad struct {
	Version string            `json:"version"`
	Reason  appliance.Message `json:"reason"`
	At      time.Time         `json:"at"`
}

// Ledger is self.json, the memory of our own updates. A trial, its counters and
// the marks are one file, so that a power cut leaves all of a turn or nothing.
type Ledger struct {
	Schema int            `json:"schema"`
	Trial  *Trial         `json:"trial,omitempty"`
	Bad    map[string]Bad `json:"bad"`     // by program
	Past   []SelfChange   `json:"history"` // the newest last
}

const (
	ledgerSchema = 1
	maxLedger    = 1 << 20 // bytes
	keptPast     = 50
)

// LedgerPath is where the ledger lies.
func LedgerPath(p appliance.Paths) string { return filepath.Join(p.Var(), "self.json") }

// ReadLedger gives the memory of our own updates; it is empty before the first.
func ReadLedger(p appliance.Paths) (Ledger, error) {
	l := Ledger{Schema: ledgerSchema, Bad: map[string]Bad{}, Past: []SelfChange{}}
	file, err := os.Open(LedgerPath(p))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = errors.Join(readJSON(file, maxLedger, &l), file.Close())
	}
	if err == nil && (l.Schema < 1 || l.Schema > ledgerSchema) {
		err = fmt.Errorf("it has schema %d, this program knows up to %d", l.Schema, ledgerSchema)
	}
	if err != nil {
		return Ledger{}, appliance.Problem("self.unreadable", err, "path", LedgerPath(p), "detail", err)
	}
	return l, nil
}

// Ended gives the change with this id once it is over.
func (l Ledger) Ended(id string) (SelfChange, bool) {
	at := slices.IndexFunc(l.Past, func(c SelfChange) bool { return c.ID == id })
	if at < 0 {
		return SelfChange{}, false
	}
	return l.Past[at], true
}

// Ledger reads the memory of our own updates.
func (s Self) Ledger() (Ledger, error) { return ReadLedger(s.Paths) }

func (s Self) write(l *Ledger) error {
	l.Past = l.Past[max(0, len(l.Past)-keptPast):]
	for len(l.Bad) > keptPast {
		delete(l.Bad, oldest(l.Bad))
	}
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write self.json: %w", err)
	}
	return s.Files.Write(LedgerPath(s.Paths), append(data, '\n'), host.Attr{Mode: privateFile, UID: os.Geteuid(), GID: os.Getegid()})
}

func oldest(bad map[string]Bad) string {
	first := ""
	for program, b := range bad {
		if first == "" || b.At.Before(bad[first].At) {
			first = program
		}
	}
	return first
}

// alone lets do change the ledger and the links while no other process of ours
// does: the guards of two units, the guard that watches and the install plan
// meet here.
func (s Self) alone(ctx context.Context, do func(*Ledger) error) (err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	l, err := s.Ledger()
	if err != nil {
		return err
	}
	return do(&l)
}

// lockBound is how long somebody else may hold the ledger: all that is done
// meanwhile is a few writes.
const lockBound = 30 * time.Second

func (s Self) lock(ctx context.Context) (unlock func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockBound)
	defer cancel()
	file, err := os.OpenFile(s.at("run/rochdale-self.lock"), os.O_RDWR|os.O_CREATE, privateFile)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the updates: %w", err)
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file.Close, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("take the lock of the updates: %w", err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for the lock of the updates: %w", context.Cause(ctx)), file.Close())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
