// SPDX-License-Identifier: AGPL-3.0-or-later

// Package appliance imports what the design allows, and must never do more.
package appliance

import (
	_ "github.com/robfig/cron/v3"

	_ "rochdale/appliance/engine"
	_ "rochdale/appliance/host"
	_ "rochdale/stacks"
)

// Documented is.
type Documented struct{}

// Method is documented.
func (Documented) Method() {}

type Bare struct{}

func (Bare) Method() {}

func (hidden) Method() {}

type hidden struct{}
