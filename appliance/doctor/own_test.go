// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"errors"
	"testing"
	"time"
)

type ownAt OwnUpdate

func (o ownAt) OwnUpdate(context.Context) (OwnUpdate, error) { return OwnUpdate(o), nil }

type noLedger struct{}

func (noLedger) OwnUpdate(context.Context) (OwnUpdate, error) {
	return OwnUpdate{}, errors.New("unexpected end of JSON input")
}

func TestOwnUpdates(t *testing.T) {
	began := time.Date(2027, 1, 31, 18, 5, 0, 0, time.UTC)
	cases := []struct {
		name string
		from OwnUpdates
		want string
	}{
		{"nobody tells", nil, ""},
		{"never updated", ownAt{State: OwnSettled}, ""},
		{"proven", ownAt{Version: "1.3.0", State: OwnSettled}, ""},
		{"on trial", ownAt{Version: "1.3.0", Began: began, State: OwnTrial}, "notice doctor.own-trial"},
		{"on its way back", ownAt{Version: "1.3.0", State: OwnBacking}, "warning doctor.own-backing"},
		{"put back", ownAt{Version: "1.3.0", Before: "1.2.0", State: OwnPutBack}, "warning doctor.own-put-back"},
		{"put back in part", ownAt{Version: "1.3.0", State: OwnPutBack, Torn: true}, "warning doctor.own-put-back, failure doctor.own-torn"},
		{"its memory is damaged", noLedger{}, "warning doctor.own-unreadable"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			found, err := own(t.Context(), Doctor{OwnUpdates: test.from})
			if err != nil || ids(found) != test.want {
				t.Errorf("got %q, %v; want %q", ids(found), err, test.want)
			}
		})
	}
}
