// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/state"
	"rochdale/installer"
)

// selfOptions are the flags of `rochdale self update`.
type selfOptions struct {
	from  string
	force installer.Force
}

func newSelfUpdateCommand(a *app) *cobra.Command {
	var o selfOptions
	c := a.verb("update", "help.self.update", func(c *cobra.Command, _ []string) error {
		return a.selfUpdate(c.Context(), o)
	})
	f := c.Flags()
	f.StringVar(&o.from, "from", "", a.t("flag.self.from"))
	f.BoolVar(&o.force.Bad, "force", false, a.t("flag.self.force"))
	f.BoolVar(&o.force.Older, "force-older", false, a.t("flag.self.force-older"))
	return c
}

func (a *app) selfUpdate(ctx context.Context, o selfOptions) error {
	if o.from == "" {
		return usage("self.from-missing")
	}
	if err := a.mayChange(); err != nil {
		return err
	}
	s := a.self()
	if t, same, err := s.OnTrial(o.from); err != nil || same {
		return a.attach(ctx, s, t, err)
	}
	return a.change(ctx, s, "update", func() (installer.Build, error) { return s.Bring(ctx, o.from, o.force) })
}

// attach goes on to show a trial that is under way, after a connection broke say.
func (a *app) attach(ctx context.Context, s installer.Self, t installer.Trial, err error) error {
	if err == nil {
		err = s.Resume(ctx)
	}
	if err != nil {
		return err
	}
	return a.follow(ctx, s, t)
}

// change sets the build that choose gives on trial and shows how it goes.
func (a *app) change(ctx context.Context, s installer.Self, kind string, choose func() (installer.Build, error)) error {
	var t installer.Trial
	agreed := false
	// Nobody else may change the machine until the trial is on the disk.
	err := locked(s.Deps, func() (err error) {
		t, agreed, err = a.begin(ctx, s, kind, choose)
		return err
	})
	switch {
	case appliance.IsProblem(err, "self.same"):
		a.printer.Result(selfAnswer{Schema: 1, SelfChange: installer.SelfChange{To: s.Current(), From: s.Current()}}, func(w io.Writer) {
			fmt.Fprintln(w, a.t("self.already", "version", s.Current().Version))
		})
		return nil
	case err != nil || !agreed:
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	return a.follow(ctx, s, t)
}

func (a *app) begin(ctx context.Context, s installer.Self, kind string, choose func() (installer.Build, error)) (t installer.Trial, agreed bool, err error) {
	to, err := choose()
	if err != nil {
		return t, false, err
	}
	if a.asks() && !a.flags.Yes {
		if agreed, err := a.confirm(ctx, "self.confirm", "from", s.Current().Version, "to", to.Version); err != nil || !agreed {
			return t, false, errors.Join(err, s.Discard())
		}
	}
	t, err = s.Begin(ctx, kind, to)
	return t, err == nil, err
}

// tellPlan shows what is new of the plan by which the program on trial takes
// over. It lies in the journal, which the daemon's restart leaves alone.
func (a *app) tellPlan(ctx context.Context, t installer.Trial, told int) int {
	_ = a.onDisk(ctx, func(db *state.DB) error { // what can not be read now is shown at the next look
		jobs, err := db.Jobs(ctx, listedJobs)
		at := slices.IndexFunc(jobs, func(j appliance.Job) bool {
			return j.Plan == selfPlan && j.Key == t.To.Program && !j.Opened.Before(t.Began)
		})
		if err != nil || at < 0 {
			return err
		}
		events, err := db.Events(ctx, jobs[at].ID)
		for _, e := range events[min(told, len(events)):] {
			a.printer.Event(e)
			told++
		}
		return err
	})
	return told
}

// tellChanged ends the command with what became of the trial.
func (a *app) tellChanged(c installer.SelfChange) error {
	if c.Outcome != installer.Proven {
		e := appliance.Problem("self.ended."+string(c.Outcome), nil, "version", c.To.Version, "before", c.From.Version)
		if c.Reason != nil {
			e.Places = []appliance.Place{{Message: *c.Reason}}
		}
		return withLog(e, "rochdale self history, journalctl -u rochdale-guard -u rochdale -u rochdale-edge")
	}
	a.printer.Result(selfAnswer{1, c}, func(w io.Writer) {
		fmt.Fprintln(w, a.t("self.proven", "version", c.To.Version, "before", c.From.Version))
	})
	return nil
}
