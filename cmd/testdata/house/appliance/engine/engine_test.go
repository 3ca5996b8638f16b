// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	_ "os/exec"

	_ "rochdale/appliance/text"
)

var tests = 1
