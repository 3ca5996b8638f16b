// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// plans runs one journalled plan after the other, as the daemon does: what was
// asked for is kept, the plan runs, and then it is forgotten. Each brings a stack
// to its next generation.
type plans struct {
	*box
	n    int64 // the last turn that ended
	open int64 // the turn whose plan was interrupted; 0 for none
}

const plansName = "cut"

func (w *plans) at(elem ...string) string {
	return filepath.Join(append([]string{home, "plans"}, elem...)...)
}

func (w *plans) data(n int64) string { return w.at("data", strconv.FormatInt(n, 10)) }

func (w *plans) note() string { return w.at("note") }

// linked is the turn that the link leads to.
func (w *plans) linked() (int64, error) {
	to, err := os.Readlink(w.at("current"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return numbered(to, "data/")
}

// placesNow are the plan's effects, in the order in which it brings them about.
func (w *plans) placesNow(ctx context.Context) ([]place, error) {
	row, err := w.released(ctx, plansName)
	if err != nil {
		return nil, err
	}
	newest := place{"data", row}
	for _, n := range []int64{row, row + 1} {
		written, err := turnOf(filepath.Join(w.data(n), "file"), "data", secretMode)
		if err != nil {
			return nil, err
		}
		if written != 0 && written != n || written == 0 && n == row && row > 0 {
			return nil, fmt.Errorf("the data of generation %d is of turn %d; the row says %d", n, written, row)
		}
		newest.turn = max(newest.turn, written)
	}
	link, err := w.linked()
	if err != nil {
		return nil, err
	}
	note, err := turnOf(w.note(), "note", plainMode)
	if err != nil {
		return nil, err
	}
	forgot := note
	if _, err := os.Lstat(w.data(note - 1)); err == nil {
		forgot--
	}
	return []place{newest, {"row", row}, {"link", link}, {"note", note}, {"forgot", forgot}}, nil
}

func (w *plans) check(ctx context.Context) error {
	places, err := w.placesNow(ctx)
	if err != nil {
		return err
	}
	if err := inOrder(places...); err != nil {
		return err
	}
	if w.open, err = w.asked(ctx); err != nil {
		return err
	}
	first, last := places[0], places[len(places)-1]
	w.n = last.turn
	if w.open != 0 {
		w.n = w.open - 1
	}
	if w.open == 0 && first.turn != last.turn || first.turn > w.n+1 || last.turn < w.n {
		return fmt.Errorf("asked for is %d, there is %v", w.open, places)
	}
	w.found("plan", w.n)
	w.found("asked", max(w.open, w.n))
	return w.jobsOver(ctx, w.open != 0)
}

// asked is the turn of the request that is kept; 0 for none.
func (w *plans) asked(ctx context.Context) (n int64, err error) {
	list, err := w.db.Requests(ctx)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	if len(list) != 1 || list[0].Plan != plansName || json.Unmarshal(list[0].Body, &n) != nil {
		return 0, fmt.Errorf("the requests are %+v", list)
	}
	return n, nil
}

// jobsOver wants every job to be closed as succeeded, with the event of its end;
// the last one may be open while it was asked for.
func (w *plans) jobsOver(ctx context.Context, mayBeOpen bool) error {
	const few = 20
	jobs, err := w.db.Jobs(ctx, few)
	if err != nil {
		return err
	}
	for i, j := range jobs {
		if j.Closed.IsZero() && i == 0 && mayBeOpen {
			continue
		}
		if j.Closed.IsZero() || j.Outcome != step.Succeeded {
			return fmt.Errorf("job %d from the end is %+v", i, j)
		}
		events, err := w.db.Events(ctx, j.ID)
		if err != nil {
			return err
		}
		if len(events) < len(w.plan(0).Steps)+1 || events[len(events)-1].Kind != step.Ended {
			return fmt.Errorf("job %s succeeded with %d events", j.ID, len(events))
		}
	}
	return nil
}

func (w *plans) resume(ctx context.Context) error {
	if err := w.files.MkdirAll(w.at("data"), mine(0o755)); err != nil {
		return err
	}
	if w.open != 0 {
		if err := w.perform(ctx, w.open); err != nil {
			return err
		}
	}
	places, err := w.placesNow(ctx)
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.turn != w.n {
			return fmt.Errorf("after going on with %d there is %v", w.open, places)
		}
	}
	return w.jobsOver(ctx, false)
}

func (w *plans) turn(ctx context.Context) error {
	n := w.n + 1
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := w.db.KeepRequest(ctx, appliance.Request{Plan: plansName, Key: plansName, Body: body}); err != nil {
		return err
	}
	w.ack("asked", n)
	return w.perform(ctx, n)
}

// perform runs the plan of a turn that was asked for to its end.
func (w *plans) perform(ctx context.Context, n int64) error {
	if err := w.plan(n).Run(ctx, w.db, nil); err != nil {
		return err
	}
	if err := w.db.DropRequest(ctx, plansName, plansName); err != nil {
		return err
	}
	w.n = n
	w.ack("plan", n)
	return nil
}

func (w *plans) plan(n int64) step.Plan {
	to, file := release(plansName, n), filepath.Join(w.data(n), "file")
	is := func(path, kind string) func(context.Context) (bool, error) {
		return func(context.Context) (bool, error) {
			data, err := os.ReadFile(path)
			return err == nil && bytes.Equal(data, content(kind, n)), nil
		}
	}
	committed := func(ctx context.Context) (bool, error) {
		r, ok, err := w.db.Release(ctx, plansName)
		return ok && r.Digest == to.Digest, err
	}
	return step.Plan{Name: plansName, Key: plansName, Steps: []step.Step{
		{ID: "reserve", Done: committed, Do: func(ctx context.Context, report step.Report) error {
			report("reserve a generation")
			got, err := w.db.ReserveGeneration(ctx, plansName, to.Digest, 0)
			if err == nil && got != n {
				err = fmt.Errorf("generation %d is reserved for turn %d", got, n)
			}
			return err
		}},
		{ID: "data", Done: is(file, "data"), Do: func(context.Context, step.Report) error {
			if err := w.files.MkdirAll(w.data(n), mine(0o700)); err != nil {
				return err
			}
			return w.files.Write(file, content("data", n), mine(secretMode))
		}},
		{ID: "commit", Done: committed, Do: func(ctx context.Context, _ step.Report) error { return w.db.Commit(ctx, to) }},
		{ID: "link", Done: func(context.Context) (bool, error) {
			at, err := w.linked()
			return at == n, err
		}, Do: func(context.Context, step.Report) error {
			return w.files.Symlink(fmt.Sprintf("data/%d", n), w.at("current"))
		}},
		{ID: "note", Done: is(w.note(), "note"), Do: func(context.Context, step.Report) error {
			return w.files.Write(w.note(), content("note", n), mine(plainMode))
		}},
		{ID: "forget", Do: func(context.Context, step.Report) error { return w.files.RemoveFolder(w.data(n - 1)) }},
		{ID: "ran", Do: func(ctx context.Context, _ step.Report) error { return w.db.Ran(ctx, plansName, time.Unix(n, 0)) }},
	}}
}
