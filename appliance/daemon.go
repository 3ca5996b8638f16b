// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"rochdale/appliance/host"
)

// Daemon keeps what state says running, and does what it is asked to, one
// operation a stack at a time. [New] makes one, [Daemon.Run] is its life; its
// other methods may be called while it runs.
type Daemon struct {
	Parts
	files  host.Files
	lanes  *lanes
	runs   *runs
	config configuration
	routes *routing
	views  views
	opened sync.Map // Bundle by stack and digest
	dumped dumped   // what the last backup of databases saw
	kits   *keeping
	// carrying is what is on its way to repositories.
	carrying *carrying
	secrets  turns        // who makes the password of which repository
	beat     atomic.Int64 // when the loop last came by, Unix nanoseconds
	wake     chan struct{}
	// resumed is closed when interrupted jobs hold their lanes again; nobody is
	// served before.
	resumed chan struct{}
	jobs    sync.WaitGroup
	base    context.Context // of the jobs; ends with Run
	end     context.CancelFunc
}

// How often the daemon looks whether everything is as it should be.
const (
	reconcileEvery = 30 * time.Second
	settleTime     = 300 * time.Millisecond // several wake-ups in a row are one
)

// New joins the parts. It reads the configuration, and starts nothing yet.
func New(p Parts) *Daemon {
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	d := &Daemon{Parts: p, files: host.NewFiles(), lanes: newLanes(), runs: newRuns(), kits: newKeeping(), carrying: newCarrying(), wake: make(chan struct{}, 1), resumed: make(chan struct{})}
	d.base, d.end = context.WithCancel(context.Background())
	d.routes = newRouting(p.Store, p.Edge)
	_ = d.config.load(p.Paths, d.files) // a finding says what is wrong with it
	d.beat.Store(time.Now().UnixNano())
	return d
}

// Run goes on with interrupted jobs and then keeps everything running, until
// ctx is done. Containers stay as they are when it returns.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.jobs.Wait()
	defer d.end()
	stop := context.AfterFunc(ctx, d.end)
	defer stop()
	if err := os.RemoveAll(d.Paths.Stages()); err != nil { // a daemon that was killed left them
		d.Log.Warn("copies of databases are left behind", "error", err)
	}
	if err := d.resume(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was told to end
		}
		return err
	}
	close(d.resumed)
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { d.keepRouting(ctx) })
	loops.Go(func() { d.keepSchedule(ctx) })
	loops.Go(func() { d.keepKit(ctx) })
	d.keepReconciling(ctx)
	return nil
}

// Alive tells whether the loop still comes by; the watchdog asks.
func (d *Daemon) Alive() bool {
	return time.Since(time.Unix(0, d.beat.Load())) < 3*reconcileEvery
}

// LastReconcile tells when the loop last came by.
func (d *Daemon) LastReconcile(context.Context) (at time.Time, ok bool, err error) {
	return time.Unix(0, d.beat.Load()), true, nil
}

// keepReconciling looks at every stack and the configuration's repositories now, every half minute, and whenever
// the engine says that something happened.
func (d *Daemon) keepReconciling(ctx context.Context) {
	events := d.Engine.Events(ctx)
	var stacks sync.WaitGroup
	defer stacks.Wait()
	for ctx.Err() == nil {
		d.beat.Store(time.Now().UnixNano())
		d.meet(ctx)
		d.reconcileAll(ctx, &stacks)
		select {
		case <-ctx.Done():
		case <-time.After(reconcileEvery):
		case <-events:
			sleep(ctx, settleTime)
		case <-d.wake:
		}
	}
}

// Wake makes the daemon look at everything soon.
func (d *Daemon) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// sleep waits; it tells whether the time passed before ctx was done.
func sleep(ctx context.Context, t time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(t):
		return true
	}
}
