// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"slices"
	"time"
)

// StatusSchema is the version of [Status]; it only ever gains fields.
const StatusSchema = 1

// Status is how the box is.
type Status struct {
	Schema int `json:"schema"`
	// Healthy is true when every stack that should run does, and no finding is
	// a failure.
	Healthy bool          `json:"healthy"`
	Version string        `json:"version"`
	Stacks  []StackStatus `json:"stacks"`
	// Findings carry ids here; who shows them adds title, why and fix.
	Findings     []Finding     `json:"findings"`
	MemoryBytes  MemoryStatus  `json:"memory_bytes"`
	Certificates []Certificate `json:"certificates"`
	// Jobs are those that run now, or wait to be gone on with.
	Jobs    []Job        `json:"jobs"`
	Backups BackupStatus `json:"backups"`
}

// StackStatus is how one stack is.
type StackStatus struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// State is one of running, starting, failing, stopped and unknown.
	State   string        `json:"state"`
	URL     string        `json:"url"`
	Updates UpdatesStatus `json:"updates"`
}

// UpdatesStatus is what was done to take a stack from release to release.
type UpdatesStatus struct {
	Running bool     `json:"running"`
	History []Change `json:"history"` // the newest first; a few
}

// shownChanges is how much of the history a status has.
const shownChanges = 5

func updatesStatus(ctx context.Context, r Reader, stack string) (u UpdatesStatus, err error) {
	all, err := r.Changes(ctx, stack, shownChanges)
	u.History = append([]Change{}, all...)
	u.Running = len(all) > 0 && !all[0].Over()
	return u, err
}

// MemoryStatus is the memory held, in bytes.
type MemoryStatus struct {
	Units      map[string]int64 `json:"units"`
	Containers map[string]int64 `json:"containers"`
}

// The states of a stack.
const (
	StateRunning  = "running"
	StateStarting = "starting"
	StateFailing  = "failing"
	StateStopped  = "stopped"
	StateUnknown  = "unknown"
)

// askLimit bounds what a status waits for any one neighbour. With the checks of
// the doctor before it, all of them stay under what an answer may take.
const askLimit = 15 * time.Second

// Status gathers how everything is. What can not be found out in time is left
// out; a finding says why where it matters.
func (d *Daemon) Status(ctx context.Context) (Status, error) {
	config, _ := d.config.get()
	s, err := StatusFromStore(ctx, d.Store, config, d.Findings(ctx))
	if err != nil {
		return s, err
	}
	for i := range s.Stacks {
		s.Stacks[i].State = d.stateOf(s.Stacks[i])
	}
	s.MemoryBytes = d.memory(ctx)
	bounded, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if found, err := d.Edge.Certificates(bounded); err == nil {
		s.Certificates = append(s.Certificates, found...)
	}
	s.judge()
	return s, nil
}

// StatusFromStore is what the disk alone knows: the command line shows it while
// the daemon is dead. Stacks that should run are in the state unknown then.
func StatusFromStore(ctx context.Context, r Reader, c Config, findings []Finding) (Status, error) {
	s := Status{
		Schema: StatusSchema, Version: Version(), Stacks: []StackStatus{}, Findings: append([]Finding{}, findings...),
		MemoryBytes:  MemoryStatus{Units: map[string]int64{}, Containers: map[string]int64{}},
		Certificates: []Certificate{}, Jobs: []Job{},
	}
	rows, err := r.Releases(ctx)
	if err != nil {
		return s, err
	}
	for _, row := range rows {
		one := StackStatus{Name: row.Stack, Version: row.Version, State: StateUnknown}
		if row.Stopped {
			one.State = StateStopped
		}
		one.URL = c.URL(row.Stack)
		if one.Updates, err = updatesStatus(ctx, r, row.Stack); err != nil {
			return s, err
		}
		s.Stacks = append(s.Stacks, one)
	}
	if s.Backups, err = backupStatus(ctx, r, Repositories(Paths{}, c)); err != nil {
		return s, err
	}
	jobs, err := r.Jobs(ctx, recentJobs)
	for _, j := range jobs {
		if j.Closed.IsZero() {
			s.Jobs = append(s.Jobs, j)
		}
	}
	s.judge()
	return s, err
}

// recentJobs is among how many jobs the open ones are looked for.
const recentJobs = 50

func (s *Status) judge() {
	s.Healthy = !slices.ContainsFunc(s.Findings, func(f Finding) bool { return f.Severity == Failure }) &&
		!slices.ContainsFunc(s.Stacks, func(x StackStatus) bool { return x.State != StateRunning && x.State != StateStopped })
}

// stateOf says how a stack is, from the last look at it.
func (d *Daemon) stateOf(s StackStatus) string {
	v, _ := d.views.get(s.Name)
	switch {
	case s.State == StateStopped:
		return StateStopped
	case slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Severity == Failure }):
		return StateFailing
	case !v.Seen:
		return StateUnknown
	case v.Upstream == "":
		return StateStarting
	default:
		return StateRunning
	}
}

// memory asks what units and containers hold now.
func (d *Daemon) memory(ctx context.Context) MemoryStatus {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	m := MemoryStatus{Units: map[string]int64{}, Containers: map[string]int64{}}
	if d.Meter != nil {
		if units, err := d.Meter.Memory(ctx); err == nil {
			m.Units = units
		}
	}
	all, err := d.Engine.List(ctx, "")
	if err != nil {
		return m
	}
	for _, x := range all {
		if !x.Running() {
			continue
		}
		if held, err := d.Engine.Stats(ctx, x.ID); err == nil {
			m.Containers[x.Name] = held
		}
	}
	return m
}

// Findings gathers everything that is wrong, the worst first.
func (d *Daemon) Findings(ctx context.Context) []Finding {
	all := d.views.findings()
	if f := d.config.finding(); f != nil {
		all = append(all, *f)
	}
	if f := d.routes.finding(); f != nil {
		all = append(all, *f)
	}
	all = append(all, d.watchFindings(ctx)...)
	all = append(all, d.backupFindings(ctx)...)
	all = append(all, d.aheadFindings(ctx)...)
	all = append(all, d.recoveryFindings(ctx)...)
	all = append(all, d.certificateFindings(ctx)...)
	for _, c := range d.Checks {
		bounded, cancel := context.WithTimeout(ctx, askLimit)
		all = append(all, c.Findings(bounded)...)
		cancel()
	}
	return tidy(d.lessOfGone(ctx, all))
}

// certificateFindings tell of hosts whose certificate could not be had.
func (d *Daemon) certificateFindings(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	held, err := d.Edge.Certificates(ctx)
	if err != nil {
		return nil // the edge being down is another finding
	}
	var all []Finding
	for _, c := range held {
		if c.Error == "" {
			continue
		}
		severity := Failure
		if time.Until(c.NotAfter) > 7*24*time.Hour {
			severity = Warning // the old one serves on for a good while
		}
		all = append(all, Finding{Message: Message{ID: "daemon.certificate", Args: Args("host", c.Name, "detail", c.Error)}, Severity: severity})
	}
	return all
}

// tidy puts the worst first and leaves out what is said twice.
func tidy(all []Finding) []Finding {
	rank := map[Severity]int{Failure: 0, Warning: 1, Notice: 2}
	slices.SortStableFunc(all, func(a, b Finding) int { return rank[a.Severity] - rank[b.Severity] })
	seen := map[string]bool{}
	kept := []Finding{}
	for _, f := range all {
		if key := f.String(); !seen[key] {
			seen[key] = true
			kept = append(kept, f)
		}
	}
	return kept
}

// Jobs gives the newest jobs first, at most limit of them.
func (d *Daemon) Jobs(ctx context.Context, limit int) ([]Job, error) {
	return d.Store.Jobs(ctx, limit)
}

// Reload reads the configuration again. A bad one becomes a finding and an
// error, and the old one stays in force.
func (d *Daemon) Reload(context.Context) error {
	err := d.config.load(d.Paths, d.files)
	if err != nil {
		d.Log.Warn("the configuration is not readable; the last good one stays in force", "error", err)
		return err
	}
	d.Log.Info("the configuration was read")
	d.routes.poke()
	d.kits.poke(false)
	d.Wake()
	return nil
}
