// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"embed"
	"fmt"
)

//go:embed units
var unitFiles embed.FS

const (
	daemonUnit = "rochdale.service"
	edgeUnit   = "rochdale-edge.service"

	firewallUnit = "rochdale-firewall.service"
	swapUnit     = "var-lib-rochdale-swapfile.swap" // systemd derives the name from the path
	engineUnit   = "docker.service"

	edgeUser = "rochdale-edge"
	webUser  = "rochdale-web"
)

// edgeSockets hold the web's ports. Each hands over one socket, because systemd
// names sockets by unit and the edge finds them by name.
func edgeSockets() []string {
	return []string{"rochdale-edge.socket", "rochdale-edge-https.socket", "rochdale-edge-http3.socket"}
}

// unit gives one of the files that are built in.
func unit(name string) ([]byte, error) {
	data, err := unitFiles.ReadFile("units/" + name)
	if err != nil {
		return nil, fmt.Errorf("find the built-in file %s: %w", name, err)
	}
	return data, nil
}
