// SPDX-License-Identifier: AGPL-3.0-or-later

package api_test

import (
	"context"
	"slices"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

func (d *daemon) Recovery(context.Context) (appliance.RecoveryState, error) {
	return appliance.RecoveryState{Schema: 1, Set: "abc"}, d.did("recovery")
}

func (d *daemon) Printed(_ context.Context, p appliance.Printing) (appliance.RecoveryState, error) {
	return appliance.RecoveryState{Set: p.Set}, d.did("printed %s %d %d %s", p.Recipient, p.Need, p.Of, p.Checks)
}

func (d *daemon) RecoveryKit(context.Context) (appliance.KitFile, error) {
	return appliance.KitFile{Serial: 3, File: make([]byte, 600<<10)}, d.did("kit")
}

func (d *daemon) KitCopied(_ context.Context, serial int64) error { return d.did("copied %d", serial) }

func (d *daemon) CheckPage(_ context.Context, a appliance.PageAnswer) (appliance.RecoveryState, error) {
	return appliance.RecoveryState{}, d.did("check %d %s", a.Page, a.Code)
}

func (d *daemon) TakeBack(ctx context.Context, watch func(step.Event)) (appliance.Taken, error) {
	return appliance.Taken{Epoch: 3, Missed: []string{"offsite"}}, d.stream(ctx, "take-over", watch)
}

func (d *daemon) Recover(ctx context.Context, r appliance.RecoverRequest, watch func(step.Event)) (appliance.Release, error) {
	return appliance.Release{Stack: r.Stack}, d.stream(ctx, "recover "+r.Stack+" "+r.Repository+" "+r.Snapshot, watch)
}

func TestRecoveryVerbs(t *testing.T) {
	d := &daemon{}
	c, _ := serve(t, d)
	ctx := t.Context()
	s, err1 := c.Recovery(ctx)
	p, err2 := c.Printed(ctx, appliance.Printing{Recipient: "age1", Set: "def", Need: 2, Of: 3, Checks: []byte(`{"a":1}`)})
	k, err3 := c.RecoveryKit(ctx)
	err4 := c.KitCopied(ctx, 3)
	_, err5 := c.CheckPage(ctx, appliance.PageAnswer{Page: 2, Code: "ABCD-EFGH"})
	r, err6 := c.Recover(ctx, appliance.RecoverRequest{Stack: "delivery", RescuePoint: appliance.RescuePoint{Repository: "offsite", Snapshot: "abc"}}, nil)
	taken, err7 := c.TakeBack(ctx, nil)
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7} {
		if err != nil {
			t.Error(err)
		}
	}
	if r.Stack != "delivery" || s.Set != "abc" || p.Set != "def" || k.Serial != 3 || len(k.File) != 600<<10 || taken.Epoch != 3 || len(taken.Missed) != 1 {
		t.Errorf("%+v %+v %d", s, p, len(k.File))
	}
	want := []string{"recovery", `printed age1 2 3 {"a":1}`, "kit", "copied 3", "check 2 ABCD-EFGH", "recover delivery offsite abc", "take-over"}
	if !slices.Equal(d.asked, want) {
		t.Errorf("%q", d.asked)
	}
}
