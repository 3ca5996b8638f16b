// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import "runtime/debug"

// version is set by the linker: -X main.version=1.2.3.
var version = "dev"

// release is the version, or the revision that a working copy was built from.
func release() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "dev " + s.Value
			}
		}
	}
	return version
}
