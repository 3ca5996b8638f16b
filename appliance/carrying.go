// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"rochdale/backups"
)

// A place elsewhere may take hours for one snapshot, or hold a connection open and
// never end. What is saved there is therefore carried: a backup waits a while for it
// and then leaves it to itself. A place that is still at an earlier snapshot is left
// out of the next ones, and the box's own copies wait for nobody.

// carrying is what is on its way to repositories, and the stages that it is read from.
type carrying struct {
	mu       sync.Mutex
	stages   map[string]int // how many read from it, by folder
	loads    map[loadKey]*load
	reserved map[string]*load // what has a repository for itself, by repository
}

type loadKey struct {
	repository string
	kind       BackupKind
}

// load is one snapshot on its way, or upkeep of a repository that keeps snapshots from
// it. What comes of it is there when over is closed.
type load struct {
	upkeep  string // the plan; empty: it is a snapshot
	began   time.Time
	leftOut bool // a later snapshot did not wait for it
	alone   bool // nobody waits for it any more
	stop    context.CancelCauseFunc
	over    chan struct{}
	run     BackupRun
	err     error
}

func newCarrying() *carrying {
	return &carrying{stages: map[string]int{}, loads: map[loadKey]*load{}, reserved: map[string]*load{}}
}

// maxStages is how many snapshots of a kind may be laid out at the same time: one for
// each repository that is slow, and a new one.
const maxStages = maxRepositories + 1

// stage takes the first folder that nobody reads from. It is hardly ever another one
// than the first.
func (c *carrying) stage(p Paths, kind BackupKind) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := 1; ; n++ {
		if dir := p.StageNumber(kind, n); c.stages[dir] == 0 {
			c.stages[dir] = 1
			return dir
		}
	}
}

// leave removes a stage that nobody reads from any more; "" is none.
func (c *carrying) leave(dir string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stages[dir]--; c.stages[dir] > 0 {
		return nil
	}
	delete(c.stages, dir)
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

// begin notes what goes to a repository, unless l is on its way there: something of the
// kind, or upkeep.
func (c *carrying) begin(key loadKey, stage string, stop context.CancelCauseFunc) (l *load, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l = c.loads[key]; l != nil {
		l.leftOut = true
		return l, false
	}
	if l = c.reserved[key.repository]; l != nil {
		return l, false
	}
	c.stages[stage]++
	l = &load{began: time.Now(), stop: stop, over: make(chan struct{})}
	c.loads[key] = l
	return l, true
}

// end tells whether nobody waited for it.
func (c *carrying) end(key loadKey) (alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.loads[key]
	close(l.over)
	delete(c.loads, key)
	return l.alone
}

// leaveAlone notes that a load is waited for no more.
func (c *carrying) leaveAlone(l *load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.alone = true
}

// busy tells whether anything is on its way to a repository.
func (c *carrying) busy(repository string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.loads {
		if key.repository == repository {
			return true
		}
	}
	return false
}

// reserve keeps new snapshots from a repository until release, for a plan that needs it for
// itself, and waits for a dump that is on its way there. Without that, a place that takes
// a dump for most of the time until the next one would never be checked or pruned: at the
// one moment when the night looks there is hardly ever none. A whole snapshot may take a
// day, and is not waited for; nor is a dump beyond its own limit. Then ok is false.
func (c *carrying) reserve(ctx context.Context, repository, plan string) (release func(), ok bool) {
	c.mu.Lock()
	c.reserved[repository] = &load{upkeep: plan, began: time.Now()}
	full, dump := c.loads[loadKey{repository, BackupFull}], c.loads[loadKey{repository, BackupDump}]
	c.mu.Unlock()
	release = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.reserved, repository)
	}
	if full == nil && (dump == nil || dump.awaited(ctx, dumpLimit)) {
		return release, true
	}
	release()
	return nil, false
}

// awaited waits so long for a load, and tells whether it is over.
func (l *load) awaited(ctx context.Context, most time.Duration) bool {
	patient, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	select {
	case <-l.over:
		return true
	case <-patient.Done():
		return false
	}
}

// notNow tells which repositories were left out of work that needs them to itself.
func notNow(busy []string) error {
	if len(busy) == 0 {
		return nil
	}
	return Problem("backup.not-now", nil, "repositories", strings.Join(busy, ", ")).WithCode(ExitWarnings)
}

// giveWay ends all that is on its way, and tells whether there was anything: the room
// that its stages take is needed for a copy on the box itself.
func (c *carrying) giveWay(ctx context.Context) bool {
	c.mu.Lock()
	var all []*load
	for key, l := range c.loads {
		all = append(all, l)
		l.stop(Problem("backup.gave-way", nil, "repository", key.repository))
	}
	c.mu.Unlock()
	for _, l := range all {
		select {
		case <-l.over:
		case <-ctx.Done():
			return false
		}
	}
	return len(all) > 0
}

// findings tell of repositories that were left out.
func (c *carrying) findings() (all []Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, l := range c.loads {
		if l.leftOut {
			all = append(all, Finding{Severity: Warning, Message: Message{
				ID: "backup.behind", Args: Args("repository", key.repository, "minutes", int(time.Since(l.began).Minutes())),
			}})
		}
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.Args["repository"], b.Args["repository"]) })
	return slices.CompactFunc(all, func(a, b Finding) bool { return a.Args["repository"] == b.Args["repository"] })
}

// carry begins to save a staged snapshot into a repository, and outlives whoever began
// it. fresh is false when the repository is left out: l is an earlier one that is on its
// way, or upkeep of the repository.
func (d *Daemon) carry(r backups.Repository, s staged) (l *load, fresh bool) {
	ctx, stop := context.WithCancelCause(d.base)
	key := loadKey{r.Name, s.manifest.Kind}
	if l, fresh = d.carrying.begin(key, s.dir, stop); !fresh {
		stop(nil)
		return l, false
	}
	d.jobs.Go(func() {
		defer stop(nil)
		l.run, l.err = d.ran(d.base, r.Name, s.manifest.Kind, func(run *BackupRun) error { //nolint:contextcheck // that it was stopped is kept, too
			err := d.saveInto(ctx, r, s, run)
			var why *Error
			if err != nil && errors.As(context.Cause(ctx), &why) && !passesForGood(err) {
				return why
			}
			return err
		})
		if err := d.carrying.leave(s.dir); err != nil {
			d.Log.Warn("copies of databases are left behind", "folder", s.dir, "error", err)
		}
		if d.carrying.end(key) && l.err == nil {
			d.kits.poke(s.manifest.Kind == BackupFull) // the backup that began it did so already
		}
		d.Wake()
	})
	return l, true
}

// How long one snapshot may take.
const (
	dumpLimit = time.Hour
	fullLimit = 24 * time.Hour
	// upkeepLimit is for a check of the repositories elsewhere, or for letting go of
	// what is old there, all of them together. The box's own have a day.
	upkeepLimit = 4 * time.Hour
	// drillLimit is for fetching what is proven from elsewhere.
	drillLimit = 4 * time.Hour
)

func limitOf(kind BackupKind) time.Duration {
	if kind == BackupDump {
		return dumpLimit
	}
	return fullLimit
}

// grace is how long a backup waits for repositories beside the box's own, all of them
// together, before it leaves them to themselves.
func grace(kind BackupKind) time.Duration {
	if kind == BackupDump {
		return 10 * time.Minute
	}
	return time.Hour
}

// passesForGood tells whether a backup left an incomplete snapshot that could not be set
// aside. That comes before whatever else ended the backup: a person has to mark it, and
// nothing else tells of it.
func passesForGood(err error) bool { return refusedBy(err, "backups.not-set-aside") }

// within does something to a repository that may take so long, and tells plainly when
// it took longer.
func within(ctx context.Context, most time.Duration, repository string, do func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := do(bounded)
	if passesForGood(err) {
		return err
	}
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return Problem("backup.too-slow", err, "repository", repository, "minutes", int(most.Minutes()))
	}
	return err
}
