// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"fmt"
	"strings"
)

// updatesConfig renders the drop-in for unattended-upgrades. Lists of apt only
// grow, so what the distribution or the operator allows stays allowed.
func updatesConfig(s System, reboot string) []byte {
	var b strings.Builder
	b.WriteString("// Rochdale: security updates of the system, by themselves.\n")
	b.WriteString("APT::Periodic::Update-Package-Lists \"1\";\n")
	b.WriteString("APT::Periodic::Unattended-Upgrade \"1\";\n")
	b.WriteString("APT::Periodic::AutocleanInterval \"7\";\n")
	b.WriteString("Unattended-Upgrade::Origins-Pattern {\n")
	for _, o := range s.Origins() {
		fmt.Fprintf(&b, "\t%q;\n", o)
	}
	b.WriteString("};\n")
	b.WriteString("// The container engine is upgraded by Rochdale, with its containers watched.\n")
	b.WriteString("Unattended-Upgrade::Package-Blacklist {\n")
	for _, name := range engineFamily() {
		// Without a backslash before the dot, which would keep unattended-upgrades
		// from pinning the package too.
		fmt.Fprintf(&b, "\t\"^%s$\";\n", name)
	}
	b.WriteString("};\n")
	b.WriteString("Unattended-Upgrade::MinimalSteps \"true\";\n")
	b.WriteString("Unattended-Upgrade::Remove-Unused-Kernel-Packages \"true\";\n")
	if reboot == "never" {
		b.WriteString("Unattended-Upgrade::Automatic-Reboot \"false\";\n")
		return []byte(b.String())
	}
	b.WriteString("Unattended-Upgrade::Automatic-Reboot \"true\";\n")
	b.WriteString("Unattended-Upgrade::Automatic-Reboot-WithUsers \"true\";\n")
	fmt.Fprintf(&b, "Unattended-Upgrade::Automatic-Reboot-Time %q;\n", reboot)
	return []byte(b.String())
}

// pinConfig keeps the engine at the version that is installed.
func pinConfig(versions map[string]string) []byte {
	var b strings.Builder
	b.WriteString("Explanation: Rochdale upgrades the container engine itself, with its containers watched.\n")
	first := true
	for _, name := range engineFamily() {
		v, there := versions[name]
		if !there {
			continue
		}
		if !first {
			b.WriteString("\n")
		}
		first = false
		fmt.Fprintf(&b, "Package: %s\nPin: version %s\nPin-Priority: 1001\n", name, v)
	}
	return []byte(b.String())
}
