// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

// version is set by the linker: -X rochdale/appliance.version=1.2.3.
var version = "0.0.0-dev"

// Version is the version of this binary, a label for people.
func Version() string { return version }
