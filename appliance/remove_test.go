// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"testing"
	"time"

	"rochdale/appliance"
)

// TestRemovalDoesNotWaitForItself: cleaning up leaves out the stack that the removal
// holds.
func TestRemovalDoesNotWaitForItself(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		began := time.Now()
		if err := d.Remove(t.Context(), "delivery", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
