// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/doctor"
	"rochdale/appliance/edge"
	"rochdale/installer"
)

// newSelfCommand is `rochdale self`: what can be done about this very program.
func newSelfCommand(a *app) *cobra.Command {
	return a.noun("self", "help.self", newSelfUpdateCommand(a), newSelfRollbackCommand(a), newSelfHistoryCommand(a), newSelfApplyCommand(a))
}

// self joins what the installer needs for updates of this program.
func (a *app) self() installer.Self {
	deps := installer.RealDeps(a.box())
	deps.Paths = a.paths
	return installer.Self{Deps: deps, Witness: witness{api.NewClient(a.paths.DaemonSocket()), edge.NewClient(a.paths.EdgeSocket())}}
}

// witness tells what answers on this box.
type witness struct {
	daemon *api.Client
	edge   *edge.Client
}

var _ installer.Witness = witness{}

// Status implements [installer.Witness].
func (w witness) Status(ctx context.Context) (appliance.Status, error) { return w.daemon.Status(ctx) }

// Edge implements [installer.Witness].
func (w witness) Edge(ctx context.Context) error {
	_, err := w.edge.Health(ctx)
	return err
}

// Web implements [installer.Witness].
func (w witness) Web(ctx context.Context, host string) error { return installer.AskOnce(ctx, host) }

// mayChange wants an installation that is whole, and somebody who may change it.
func (a *app) mayChange() error {
	if !installer.Root() {
		return appliance.Problem("install.not-root", nil)
	}
	r, err := installer.ReadRecord(a.paths)
	switch {
	case err != nil:
		return appliance.Problem("install.record-unreadable", err, "detail", err)
	case r == nil || !r.Removed.IsZero():
		return appliance.Problem("cli.not-installed", nil).WithCode(appliance.ExitNotThere)
	case r.Finished.IsZero():
		return appliance.Problem("self.unfinished", nil)
	}
	return nil
}

// ownUpdates is how the doctor sees updates of this program.
type ownUpdates struct{ paths appliance.Paths }

var _ doctor.OwnUpdates = ownUpdates{}

// OwnUpdate implements [doctor.OwnUpdates].
func (o ownUpdates) OwnUpdate(context.Context) (doctor.OwnUpdate, error) {
	l, err := installer.ReadLedger(o.paths)
	if err != nil {
		return doctor.OwnUpdate{}, err
	}
	if t := l.Trial; t != nil {
		u := ownUpdate(t.SelfChange, doctor.OwnTrial)
		if t.Phase == installer.Backing {
			u.State = doctor.OwnBacking
		}
		return u, nil
	}
	if len(l.Past) == 0 {
		return doctor.OwnUpdate{State: doctor.OwnSettled}, nil
	}
	last := ownUpdate(l.Past[len(l.Past)-1], doctor.OwnSettled)
	if l.Past[len(l.Past)-1].Outcome == installer.PutBack {
		last.State = doctor.OwnPutBack
	}
	return last, nil
}

func ownUpdate(c installer.SelfChange, s doctor.OwnState) doctor.OwnUpdate {
	return doctor.OwnUpdate{Version: c.To.Version, Before: c.From.Version, Began: c.Began, State: s, Torn: c.Torn}
}

// selfAnswer is the last line of a command that changed this program.
type selfAnswer struct {
	Schema int `json:"schema"`
	installer.SelfChange
}

// followEvery is how often a command looks how far a trial is.
const followEvery = 500 * time.Millisecond

// follow shows a trial until it is over. It goes on without this process too.
func (a *app) follow(ctx context.Context, s installer.Self, t installer.Trial) error {
	told, phase := 0, installer.Phase("")
	for {
		l, err := s.Ledger()
		if err != nil {
			return err
		}
		if l.Trial != nil && l.Trial.ID == t.ID && l.Trial.Phase != phase {
			phase = l.Trial.Phase
			a.printer.Note("self.phase."+string(phase), "version", t.To.Version, "before", t.From.Version)
		}
		told = a.tellPlan(ctx, t, told)
		if c, over := l.Ended(t.ID); over {
			return a.tellChanged(c)
		}
		select {
		case <-ctx.Done():
			return appliance.Problem("self.goes-on", nil, "version", t.To.Version).WithCode(appliance.ExitInterrupted)
		case <-time.After(followEvery):
		}
	}
}
