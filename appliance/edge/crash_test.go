// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/host/hosttest"
)

// TestRoutesSurvivePowerCuts: the edge starts from the document of before or from
// the one that it answered for.
func TestRoutesSurvivePowerCuts(t *testing.T) {
	root := t.TempDir()
	for version := uint64(1); version <= 2; version++ {
		hosttest.Value[appliance.Routes]{
			Read: func(root string) (appliance.Routes, error) { return newStore(root).load() },
			Write: func(root string, files host.Files) error {
				s := newStore(root)
				s.files = files
				return s.save(appliance.Routes{
					Schema: appliance.RoutesSchema, Version: version, Hosts: map[string]appliance.Host{"rides.example": {Stack: "delivery"}},
				})
			},
		}.OldOrNew(t, root)
	}
}

// TestLedgerSurvivesPowerCuts: failures are known or not yet. A record that can not
// be read would start anew, and the authority be asked too often.
func TestLedgerSurvivesPowerCuts(t *testing.T) {
	root := t.TempDir()
	for range 2 {
		hosttest.Value[int]{
			Read: func(root string) (int, error) {
				var said bytes.Buffer
				l := newLedger(root, slog.New(slog.NewTextHandler(&said, nil)))
				if said.Len() > 0 {
					return 0, errors.New(said.String())
				}
				return l.failures["rides.example"].Count, nil
			},
			Write: func(root string, files host.Files) error {
				l := newLedger(root, slog.New(slog.DiscardHandler))
				l.files = files
				l.record("rides.example", errors.New("no such name"))
				return nil
			},
		}.OldOrNew(t, root)
	}
}
