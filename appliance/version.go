// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import "time"

// version is set by the linker: -X rochdale/appliance.version=1.2.3.
var version = "0.0.0-dev"

// Version is the version of this binary, a label for people.
func Version() string { return version }

// built is set by the linker: -X rochdale/appliance.built=2027-01-31T18:00:00Z.
var built string

// Built is when the source of this binary was committed, so no clock may be
// before it. It is zero where nobody knows, in a build that make did not do.
func Built() time.Time {
	at, _ := time.Parse(time.RFC3339, built) // zero when it can not be read
	return at.UTC()
}
