// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Codes are short: who guesses must not be let try for long.
const (
	slipsAllowed = 10
	slipsWithin  = time.Hour
)

// CheckPage takes a check code that the holder of a page has read out. When it is
// right, the page is proven to be there; the code is used up.
func (d *Daemon) CheckPage(ctx context.Context, a PageAnswer) (RecoveryState, error) {
	if d.Kits == nil || !d.kits.mayTry(time.Now()) {
		return RecoveryState{}, Problem("recovery.too-many-slips", nil, "count", slipsAllowed)
	}
	err := d.amendRecovery(func(r *RecoveryRecord) error {
		if r.Recipient == "" || len(r.Checks) == 0 {
			return Problem("recovery.no-pages", nil)
		}
		checks, err := d.Kits.Answer(r.Checks, a, time.Now().UTC().Truncate(time.Second))
		if err == nil {
			r.Checks = checks
		}
		return err
	})
	if err != nil {
		d.kits.slip(time.Now())
		return RecoveryState{}, readable(err)
	}
	return d.Recovery(ctx)
}

func (k *keeping) mayTry(now time.Time) bool {
	k.told.Lock()
	defer k.told.Unlock()
	k.slips = slices.DeleteFunc(k.slips, func(at time.Time) bool { return now.Sub(at) > slipsWithin })
	return len(k.slips) < slipsAllowed
}

func (k *keeping) slip(now time.Time) {
	k.told.Lock()
	defer k.told.Unlock()
	k.slips = append(k.slips, now)
}

// askEvery is how long the holders of pages may go without being asked.
const askEvery = 182 * 24 * time.Hour

// recoveryFindings tell what stands between the loss of the machine and its
// recovery.
func (d *Daemon) recoveryFindings(ctx context.Context) []Finding {
	if d.Kits == nil {
		return nil
	}
	rows, err := d.Store.Releases(ctx)
	if err != nil || len(rows) == 0 {
		return nil
	}
	r, err := ReadRecovery(d.Paths)
	if err != nil {
		return []Finding{{Severity: Warning, Message: MessageOf(err)}}
	}
	if r.Recipient == "" {
		return []Finding{{Severity: Notice, Message: Message{ID: "recovery.no-pages"}}}
	}
	var all []Finding
	if trouble := d.kits.lastTrouble(); trouble != nil && !isAbout(*trouble, d.away(ctx)) { // else one finding tells
		all = append(all, Finding{Severity: Warning, Message: Message{ID: "recovery.kit-stale"}}, Finding{Severity: Warning, Message: *trouble})
	}
	if len(r.Kit.ByHand) > 0 {
		all = append(all, Finding{Severity: Warning, Message: Message{ID: "recovery.kit-by-hand", Args: Args("what", strings.Join(r.Kit.ByHand, "; "))}})
	}
	if f := r.copyFinding(); f != nil {
		all = append(all, *f)
	}
	if f := d.holdersFinding(r); f != nil {
		all = append(all, *f)
	}
	return all
}

// ToTheMinute is a time as people read it, in UTC: two kits may be of one day.
const ToTheMinute = "2006-01-02 15:04 UTC"

// copyFinding tells of the copy that the co-op keeps. Pages of an earlier printing are to
// be destroyed: then nothing opens a copy that was sealed for them.
func (r RecoveryRecord) copyFinding() *Finding {
	switch {
	case r.Copied.Recipient != "" && r.Copied.Recipient != r.Recipient:
		return &Finding{Severity: Warning, Message: Message{ID: "recovery.copy-other-pages"}}
	case r.Kit.Serial == 0 || r.Kit.Issued.IsZero() || r.Copied.Serial >= r.Kit.Serial: // of none, or of the lost machine's
		return nil
	case r.Copied.Serial == 0:
		return &Finding{Severity: Notice, Message: Message{ID: "recovery.no-copy"}}
	default:
		return &Finding{Severity: Notice, Message: Message{ID: "recovery.copy-old", Args: Args(
			"copied", r.Copied.At.UTC().Format(ToTheMinute), "issued", r.Kit.Issued.UTC().Format(ToTheMinute))}}
	}
}

// holdersFinding tells of pages of which nobody knows any more whether they are
// there. The day of their printing counts as one on which they were.
func (d *Daemon) holdersFinding(r RecoveryRecord) *Finding {
	pages, err := d.Kits.Pages(r.Checks)
	if err != nil {
		return &Finding{Severity: Warning, Message: MessageOf(readable(err))}
	}
	silent := 0
	for _, p := range pages {
		if time.Since(later(r.Printed, p.Proven)) > askEvery {
			silent++
		}
	}
	if silent == 0 {
		return nil
	}
	return &Finding{Severity: Warning, Message: Message{ID: "recovery.not-asked", Args: Args("count", silent, "of", len(pages))}}
}
