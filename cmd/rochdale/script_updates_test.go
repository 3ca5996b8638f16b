// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// The example daemon's releases and snapshots: a bundle called bad is put back,
// and the last update was an hour before the time of the example.

func exampleChange(kind appliance.ChangeKind) appliance.Change {
	from, to := exampleRelease(), exampleRelease()
	to.Version, to.Generation = "1.5.0", 2
	at := from.Committed
	return appliance.Change{
		ID: "01CHANGE", Stack: "delivery", Kind: kind, From: from, To: to, Began: at, Ended: at.Add(4 * time.Second),
		Outcome: appliance.Committed, Held: 2400 * time.Millisecond,
	}
}

func (exampleDaemon) Update(_ context.Context, r appliance.UpdateRequest, watch func(step.Event)) (appliance.Change, error) {
	watch(step.Event{Job: "01JOB", Plan: "stack-update", Step: "migrate", Index: 1, Total: 1, Kind: step.Started})
	if r.Again {
		e := appliance.Problem("update.put-back-here", nil, "stack", r.Stack, "version", "1.5.0", "kept", "1.4.0")
		e.Places = []appliance.Place{{Message: appliance.Message{ID: "update.over-budget", Args: appliance.Args("stack", r.Stack, "seconds", 10)}}}
		return appliance.Change{}, &step.Error{Plan: "stack-update", Step: "copy", Err: e}
	}
	if r.Window == 0 {
		return exampleChange(appliance.KindUpdate), nil
	}
	e := appliance.Problem("update.put-back", nil, "stack", r.Stack, "version", "1.5.0", "kept", "1.4.0")
	e.Places = []appliance.Place{{Message: appliance.Message{ID: "update.fact", Args: appliance.Args("stack", r.Stack, "fact", "orders", "want", 12, "got", 11)}}}
	return appliance.Change{}, &step.Error{Plan: "stack-update", Step: "facts", Err: e}
}

func (exampleDaemon) Rollback(context.Context, appliance.RollbackRequest, func(step.Event)) (appliance.Change, error) {
	c := exampleChange(appliance.KindRollback)
	c.From, c.To = c.To, c.From
	return c, nil
}

func (exampleDaemon) WouldLose(_ context.Context, stack string) (appliance.Loss, error) {
	c := exampleChange(appliance.KindUpdate)
	return appliance.Loss{Schema: 1, Stack: stack, From: c.To, To: c.From, Since: c.Ended, Facts: []appliance.FactChange{{Name: "orders", Then: 12, Now: 15}}}, nil
}

func (exampleDaemon) Backup(_ context.Context, _ appliance.BackupKind, only string, _ func(step.Event)) error {
	if only == "nowhere" {
		return appliance.Problem("backup.no-repository", nil, "repository", only).WithCode(appliance.ExitUsage)
	}
	return nil
}

func (exampleDaemon) Upkeep(context.Context, appliance.BackupKind, func(step.Event)) error {
	return nil
}

func (exampleDaemon) Drill(context.Context, appliance.DrillRequest, func(step.Event)) error {
	return nil
}

func (exampleDaemon) Snapshots(context.Context, string) ([]appliance.Restorable, error) {
	return []appliance.Restorable{exampleSnapshot()}, nil
}

func exampleSnapshot() appliance.Restorable {
	id := strings.Repeat("0123456789abcdef", 4)
	return appliance.Restorable{Schema: 1, Repository: "box", Snapshot: id, Files: id, Made: exampleRelease().Committed, Kind: appliance.BackupFull}
}

func (exampleDaemon) FindSnapshot(_ context.Context, r appliance.RestoreRequest) (appliance.Restorable, error) {
	if r.At == "1999-01-01" {
		return appliance.Restorable{}, appliance.Problem("restore.no-snapshot", nil, "repository", "box", "at", r.At, "count", 1).WithCode(appliance.ExitUsage)
	}
	if r.Stack != "delivery" {
		return appliance.Restorable{}, appliance.Problem("daemon.no-stack", nil, "stack", r.Stack).WithCode(appliance.ExitUsage)
	}
	one := exampleSnapshot()
	one.Version, one.Now = "1.3.0", "1.4.0"
	one.Facts = []appliance.FactChange{{Name: "orders", Then: 12, Now: 15}}
	return one, nil
}

func (exampleDaemon) Restore(context.Context, appliance.RestoreRequest, func(step.Event)) (appliance.Change, error) {
	return exampleChange(appliance.KindRestore), nil
}
