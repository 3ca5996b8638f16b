// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

func (d *daemon) Update(ctx context.Context, r appliance.UpdateRequest, watch func(step.Event)) (appliance.Change, error) {
	return appliance.Change{ID: "update"}, d.stream(ctx, fmt.Sprintf("update %s %s %v %v", r.Stack, r.Digest, r.Window, r.Again), watch)
}

func (d *daemon) Rollback(ctx context.Context, r appliance.RollbackRequest, watch func(step.Event)) (appliance.Change, error) {
	return appliance.Change{ID: "rollback"}, d.stream(ctx, fmt.Sprintf("rollback %s %v", r.Stack, r.Window), watch)
}

func (d *daemon) WouldLose(_ context.Context, stack string) (appliance.Loss, error) {
	return appliance.Loss{Stack: stack}, d.did("loss %s", stack)
}

func (d *daemon) Backup(ctx context.Context, kind appliance.BackupKind, only string, watch func(step.Event)) error {
	return d.stream(ctx, fmt.Sprintf("backup %s %s", kind, only), watch)
}

func (d *daemon) Upkeep(ctx context.Context, kind appliance.BackupKind, watch func(step.Event)) error {
	return d.stream(ctx, fmt.Sprintf("upkeep %s", kind), watch)
}

func (d *daemon) Drill(ctx context.Context, q appliance.DrillRequest, watch func(step.Event)) error {
	return d.stream(ctx, fmt.Sprintf("drill %s %s", q.Stack, q.Repository), watch)
}

func (d *daemon) Snapshots(_ context.Context, repository string) ([]appliance.Restorable, error) {
	return []appliance.Restorable{{Snapshot: "s"}}, d.did("snapshots %s", repository)
}

func (d *daemon) FindSnapshot(_ context.Context, r appliance.RestoreRequest) (appliance.Restorable, error) {
	return appliance.Restorable{Snapshot: "s"}, d.did("find %s %s", r.Stack, r.At)
}

func (d *daemon) Restore(ctx context.Context, r appliance.RestoreRequest, watch func(step.Event)) (appliance.Change, error) {
	return appliance.Change{ID: "restore"}, d.stream(ctx, fmt.Sprintf("restore %s %s %s", r.Stack, r.Repository, r.At), watch)
}

func TestVerbsOfReleasesAndSnapshots(t *testing.T) {
	d := &daemon{}
	c, _ := serve(t, d)
	ctx := t.Context()
	update := appliance.UpdateRequest{Stack: "delivery", Digest: "/next", Window: time.Minute, Again: true}
	back := appliance.RollbackRequest{Stack: "delivery", Window: time.Minute}
	for want, ask := range map[string]func() (string, error){
		"update delivery /next 1m0s true": func() (string, error) { x, err := c.Update(ctx, update, nil); return x.ID, err },
		"rollback delivery 1m0s":          func() (string, error) { x, err := c.Rollback(ctx, back, nil); return x.ID, err },
		"loss delivery":                   func() (string, error) { x, err := c.WouldLose(ctx, "delivery"); return x.Stack, err },
		"backup full offsite":             func() (string, error) { return "", c.Backup(ctx, appliance.BackupFull, "offsite", nil) },
		"upkeep check":                    func() (string, error) { return "", c.Backup(ctx, appliance.BackupCheck, "", nil) },
		"drill delivery offsite": func() (string, error) {
			return "x", c.Drill(ctx, appliance.DrillRequest{Stack: "delivery", Repository: "offsite"}, nil)
		},
		"snapshots box": func() (string, error) { x, err := c.Snapshots(ctx, "box"); return x[0].Snapshot, err },
		"find delivery now": func() (string, error) {
			x, err := c.FindSnapshot(ctx, appliance.RestoreRequest{Stack: "delivery", At: "now"})
			return x.Snapshot, err
		},
		"restore delivery offsite 01": func() (string, error) {
			x, err := c.Restore(ctx, appliance.RestoreRequest{Stack: "delivery", Repository: "offsite", At: "01"}, nil)
			return x.ID, err
		},
	} {
		got, err := ask()
		if err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if got == "" && want != "backup full offsite" && want != "upkeep check" {
			t.Errorf("%s: the answer is empty", want)
		}
		if !slices.Contains(d.asked, want) {
			t.Errorf("the daemon was asked %q, not %q", d.asked, want)
		}
	}
	if err := c.Backup(ctx, "nonsense", "", nil); !appliance.IsProblem(err, "daemon.request") {
		t.Errorf("nonsense was taken: %v", err)
	}
}
