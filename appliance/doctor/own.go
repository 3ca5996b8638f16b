// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"time"

	"rochdale/appliance"
)

// OwnUpdates tells about updates of Rochdale itself; cmd fills it with what the
// installer keeps of them.
type OwnUpdates interface {
	OwnUpdate(ctx context.Context) (OwnUpdate, error)
}

// OwnUpdate is the last change of our own program, or the one under way.
type OwnUpdate struct {
	// Version is empty when there never was one.
	Version string
	Before  string // the version before it
	Began   time.Time
	State   OwnState
	// Torn: the version before it could not write all of its files again.
	Torn bool
}

// OwnState is how far a change of our own program is.
type OwnState string

// The states of a change of our own program.
const (
	OwnSettled OwnState = "settled" // it runs and has proven itself, or never did anything
	OwnTrial   OwnState = "trial"
	OwnBacking OwnState = "backing" // the version before it takes over again
	OwnPutBack OwnState = "put-back"
)

// own tells of a version that has to prove itself yet, and of one that did not.
func own(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.OwnUpdates == nil {
		return nil, nil
	}
	u, err := d.OwnUpdates.OwnUpdate(ctx)
	if err != nil {
		return only(warning("doctor.own-unreadable", "detail", cause(err)))
	}
	return judgeOwn(u), nil
}

func judgeOwn(u OwnUpdate) (list []appliance.Finding) {
	switch u.State {
	case OwnTrial:
		list = append(list, notice("doctor.own-trial", "version", u.Version, "since", u.Began.UTC().Format("15:04 UTC")))
	case OwnBacking:
		list = append(list, warning("doctor.own-backing", "version", u.Version, "before", u.Before))
	case OwnPutBack:
		list = append(list, warning("doctor.own-put-back", "version", u.Version, "before", u.Before))
	case OwnSettled:
	}
	if u.Torn {
		list = append(list, failure("doctor.own-torn", "version", u.Version, "before", u.Before))
	}
	return list
}
