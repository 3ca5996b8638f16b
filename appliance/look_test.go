// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"testing"
)

// cutOff is an engine that was asked by a look that has just been called off.
type cutOff struct{ Engine }

func (cutOff) List(context.Context, string) ([]Container, error) { return nil, context.Canceled }

// A look that loses the list must not take it for an empty one: the edge would
// be pointed at nothing until the next look.
func TestAListThatDidNotComeLeavesTheLast(t *testing.T) {
	l := &look{Daemon: &Daemon{Parts: Parts{Engine: cutOff{}}}, stack: "delivery", containers: []Container{{ID: "a"}}}
	if err := l.see(t.Context()); !errors.Is(err, context.Canceled) || len(l.containers) != 1 {
		t.Errorf("%v, containers %v", err, l.containers)
	}
}
