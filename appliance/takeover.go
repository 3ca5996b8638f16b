// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"time"

	"rochdale/appliance/step"
)

// Taken is how it stands after the repositories were taken back.
type Taken struct {
	Schema int   `json:"schema"`
	Epoch  int64 `json:"epoch"`
	// Missed are repositories that could not be reached: the next backup there takes them.
	Missed []string `json:"missed"`
}

// TakeBack makes this machine the owner of its repositories again, after another one was
// recovered from them, as a trial say. The other one then writes there no more.
func (d *Daemon) TakeBack(ctx context.Context, watch func(step.Event)) (Taken, error) {
	if d.recovering() {
		return Taken{}, Problem(Recovering, nil)
	}
	var w *takingBack
	build := func() operation {
		w = &takingBack{Daemon: d}
		return w.operation()
	}
	if err := d.perform(ctx, exclusiveLane, build, watch); err != nil {
		return Taken{}, err
	}
	return w.taken, nil
}

func (d *Daemon) takeBackOperation(none) operation { return (&takingBack{Daemon: d}).operation() }

// none is a request with nothing in it.
type none struct{}

type takingBack struct {
	*Daemon
	taken Taken
}

func (w *takingBack) operation() operation {
	return operation{request: none{}, after: w.over, plan: step.Plan{Name: "recovery-take-over", Key: exclusiveLane, Steps: []step.Step{
		{ID: "owner", Do: w.owner, Effects: writes(OwnerName), Estimate: 5 * time.Second},
	}}}
}

func (w *takingBack) owner(ctx context.Context, _ step.Report) error {
	mine, missed, err := TakeOver(ctx, w.Paths, w.Shelf, w.repositories(), 0)
	w.taken = Taken{Schema: 1, Epoch: mine.Epoch, Missed: append([]string{}, missed...)}
	return err
}

// over lets the kit say the new epoch.
func (w *takingBack) over(context.Context, error) error {
	w.kits.poke(true)
	return nil
}
