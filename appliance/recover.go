// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
	"rochdale/backups"
)

// Recovering is the finding of a machine on which a recovery has not ended.
const Recovering = "doctor.recovering"

// RecoverRequest asks for a stack of a lost machine: what it ran, on the data that
// a snapshot has.
type RecoverRequest struct {
	Stack string `json:"stack"`
	RescuePoint
}

// Recover starts a stack on a machine that has none of this name yet, with its
// release and its data both from a snapshot. A stack that was recovered before is
// only started. One that was stopped gets its data back and stays stopped.
func (d *Daemon) Recover(ctx context.Context, r RecoverRequest, watch func(step.Event)) (Release, error) {
	if err := d.configured(r.Stack); err != nil {
		return Release{}, err
	}
	if err := d.perform(ctx, r.Stack, func() operation { return d.recoverOperation(r) }, watch); err != nil {
		return Release{}, err
	}
	row, _, err := d.Store.Release(ctx, r.Stack)
	return row, err
}

// recovering is a start whose bundle and data come from a snapshot. It begins anew
// after a crash, unless the row is there and a mark says of which snapshot its data are.
type recovering struct {
	start
	from RescuePoint
	took StackBackup
}

func (d *Daemon) recoverOperation(r RecoverRequest) operation {
	w := &recovering{start: start{Daemon: d, request: ApplyRequest{Stack: r.Stack}}, from: r.RescuePoint}
	return operation{request: r, after: w.over, plan: step.Plan{Name: "stack-recover", Key: r.Stack, Steps: []step.Step{
		{ID: "fetch", Done: w.there, Do: w.fetch, Effects: writes(w.restored()), Estimate: 30 * time.Second},
		{ID: "unpack", Do: w.unpackTaken},
		{ID: "network", Do: w.network},
		{ID: "images", Do: w.images, Estimate: 2 * time.Second},
		{ID: "data", Do: w.furnishTaken, Effects: writes(filepath.Join(d.Paths.Stack(r.Stack), "data"))},
		{ID: "database", Do: w.databases},
		{ID: "load", Done: w.there, Do: w.load, Estimate: 5 * time.Second},
		{ID: "facts", Done: w.there, Do: w.compare},
		{ID: "migrate", Do: w.awake(w.migrate)},
		{ID: "start", Do: w.awake(w.start.start), Estimate: 3 * time.Second},
		{ID: "commit", Do: w.commit},
		{ID: "route", Do: w.awake(w.route)},
		{ID: "certificate", Do: w.awake(w.certificate), Estimate: 10 * time.Second},
	}}}
}

// awake leaves a step out for a stack that was stopped.
func (w *recovering) awake(do func(context.Context, step.Report) error) func(context.Context, step.Report) error {
	return func(ctx context.Context, report step.Report) error {
		if w.c.release.Stopped {
			return nil
		}
		return do(ctx, report)
	}
}

// commit is that of a start, but for a stack that was stopped: the row keeps it so.
func (w *recovering) commit(ctx context.Context, report step.Report) error {
	if err := w.mark(); err != nil {
		return err
	}
	r := &w.c.release
	if !r.Stopped {
		return w.start.commit(ctx, report)
	}
	if r.Committed.IsZero() {
		r.Committed, r.Settings = time.Now().UTC(), w.c.settings()
	}
	return w.Store.Commit(ctx, *r)
}

func (w *recovering) restored() string { return w.Paths.Restored(w.request.Stack, "recovery") }

// there tells whether the data of this very snapshot are in place. A stack that came
// from anywhere else is not taken for the one that was saved, nor written over.
func (w *recovering) there(ctx context.Context) (bool, error) {
	_, ok, err := w.Store.Release(ctx, w.request.Stack)
	if err != nil || !ok {
		return false, err
	}
	var from RescuePoint
	data, err := os.ReadFile(w.Paths.RescuedStack(w.request.Stack))
	if err == nil {
		err = json.Unmarshal(data, &from)
	}
	if err != nil || from.Repository != w.from.Repository || from.Snapshot != w.from.Snapshot {
		return false, Problem("recover.stack-there", err, "stack", w.request.Stack)
	}
	return true, nil
}

// mark notes where the data came from, before the row says that they are there.
func (w *recovering) mark() error {
	data, err := json.Marshal(w.from)
	if err != nil {
		return err
	}
	path := w.Paths.RescuedStack(w.request.Stack)
	private := host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}
	if err := w.files.MkdirAll(filepath.Dir(path), private); err != nil {
		return err
	}
	private.Mode = 0o600
	return w.files.Write(path, append(data, '\n'), private)
}

// fetch lays out all that the snapshot has of the stack, and waits until it is on the
// disk: what is moved away from here later is taken for whole after a power cut.
func (w *recovering) fetch(ctx context.Context, _ step.Report) error {
	r, err := w.repository(w.from.Repository)
	if err != nil {
		return err
	}
	into := layout{Snapshot: w.from.Snapshot, Files: w.from.Files, Stack: w.request.Stack, Into: w.restored(), NoRoom: noRecoveryRoom}
	if w.took, err = w.layOut(ctx, r, into); err != nil {
		return err
	}
	if _, err = w.Vault.Restore(ctx, r, backups.Restore{Snapshot: w.from.Snapshot, Target: w.restored(), Include: []string{w.took.Secrets}}); err != nil {
		return readable(err)
	}
	return w.files.SyncAll(w.restored())
}

// unpackTaken opens the release that ran, out of the snapshot.
func (w *recovering) unpackTaken(ctx context.Context, _ step.Report) error {
	row, ok, err := w.Store.Release(ctx, w.request.Stack)
	if err != nil {
		return err
	}
	if !ok {
		was := w.took.Release
		row = Release{Stack: w.request.Stack, Digest: was.Digest, Version: was.Version, Stopped: was.Stopped}
		if err := w.bringBundle(row); err != nil {
			return err
		}
	}
	b, err := w.open(ctx, row)
	if err != nil {
		return err
	}
	w.c = &crew{release: row, bundle: b, paths: w.Paths}
	return nil
}

// bringBundle moves the unpacked bundle where bundles are. One that an earlier
// attempt moved there may be a part: it is replaced.
func (w *recovering) bringBundle(row Release) error {
	dir := w.Paths.Bundles(row.Stack)
	if err := w.files.MkdirAll(dir, rootOnly()); err != nil {
		return err
	}
	from, err := inside(w.restored(), w.took.Bundle)
	if err != nil {
		return fmt.Errorf("take the release out of the snapshot: %w", err)
	}
	to := filepath.Join(dir, filepath.Base(w.took.Bundle))
	if err := errors.Join(os.RemoveAll(to), os.Rename(from, to)); err != nil {
		return fmt.Errorf("take the release out of the snapshot: %w", err)
	}
	return nil
}

// furnishTaken chooses a generation above all that the lost machine had: its
// history stays true.
func (w *recovering) furnishTaken(ctx context.Context, report step.Report) error {
	r := &w.c.release
	if r.Generation == 0 {
		newest, err := newestGeneration(dataDir(w.Paths, r.Stack))
		if err != nil {
			return err
		}
		floor := max(newest, w.took.Release.Generation)
		if r.Generation, err = w.Store.ReserveGeneration(ctx, r.Stack, r.Digest, floor); err != nil {
			return err
		}
		if err := w.bringSecrets(); err != nil {
			return err
		}
	}
	return w.data(ctx, report)
}

// bringSecrets puts the stack's secrets in place. Those that are there stay.
func (w *recovering) bringSecrets() error {
	to := w.Paths.Secrets(w.request.Stack)
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	from, err := inside(w.restored(), w.took.Secrets)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		return fmt.Errorf("put the secrets of stack %s in place: %w", w.request.Stack, err)
	}
	return nil
}

// load puts the data in place and waits until they, the bundle and the secrets are
// on the disk: who laid them out did not, and the row is to say that they are there.
func (w *recovering) load(ctx context.Context, report step.Report) error {
	if err := w.endEarlier(ctx); err != nil {
		return err
	}
	place, err := w.dataPlace(ctx, w.c)
	if err != nil {
		return err
	}
	// Before anything is moved out of what is laid out: the next attempt begins anew.
	if err := w.roomToLoad(ctx); err != nil {
		return err
	}
	if err := w.placeFiles(ctx, w.restored(), w.took, w.c, "recovery", report); err != nil {
		return err
	}
	from, err := inside(w.restored(), w.took.Database)
	if err != nil {
		return err
	}
	if err := w.Data.Load(ctx, from, place); err != nil {
		return err
	}
	return w.files.SyncAll(w.Paths.Stack(w.request.Stack))
}

// roomToLoad wants room for the databases, which are copied out of what is laid out.
func (w *recovering) roomToLoad(ctx context.Context) error {
	laid, err := laidBytes(ctx, w.restored(), w.took)
	if err != nil {
		return err
	}
	stack := w.request.Stack
	return w.wantRoom(noRecoveryRoom, stack, dataDir(w.Paths, stack), max(w.took.Data.Bytes, laid))
}

// endEarlier removes what an interrupted attempt has started on the data that are to be
// replaced: it would go on with folders that nobody finds any more, look well, and lose
// all that is written to it. The servers of databases stay; their files do, too.
func (w *recovering) endEarlier(ctx context.Context) error {
	all, err := w.Engine.List(ctx, w.request.Stack)
	if err != nil {
		return err
	}
	for _, x := range all {
		if s, known := w.c.service(x.Service); known && s.Shared {
			continue
		}
		if err := w.retire(ctx, w.c, x); err != nil {
			return err
		}
	}
	return nil
}

// compare holds the data against what was measured when they were saved.
func (w *recovering) compare(ctx context.Context, _ step.Report) error {
	place, err := w.dataPlace(ctx, w.c)
	if err != nil {
		return err
	}
	facts := factsFor(w.c, "drill")
	after, err := w.Data.Facts(ctx, place, facts)
	if err != nil {
		return err
	}
	t := &transition{Daemon: w.Daemon, transitionRequest: transitionRequest{Stack: w.request.Stack}, before: w.took.Data.Facts}
	return t.judgeFacts(asMeasured(facts), after)
}

// over removes what was laid out. A recovery that failed leaves no container, and
// neither does one of a stack that was stopped.
func (w *recovering) over(ctx context.Context, failed error) error {
	err := errors.Join(w.ended(ctx, failed), os.RemoveAll(w.restored()), os.RemoveAll(w.restored()+laidOutFiles))
	if failed != nil || !w.c.release.Stopped {
		return err
	}
	x := &removal{Daemon: w.Daemon, stack: w.request.Stack}
	return errors.Join(err, x.putAway(ctx))
}
