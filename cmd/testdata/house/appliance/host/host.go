// SPDX-License-Identifier: AGPL-3.0-or-later

// Package host opens the machine.
package host

import (
	_ "os/exec"

	_ "rochdale/appliance/step"
)

func run(name string, args ...string) {}

func shell() {
	run("sh", "-c", "rm -rf /")
	run("systemctl", "start", "docker")
	run("nice", "/bin/bash -c true")
	_ = command{Name: "/usr/bin/bash", Args: []string{"-e", "-c", "true"}}
}

type command struct {
	Name string
	Args []string
}
