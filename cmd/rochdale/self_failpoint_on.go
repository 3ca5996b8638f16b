// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build failpoints

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rochdale/appliance"
)

// failing makes the daemon of a version that is called so fail: 1.3.0-exits ends
// at once, 1.3.0-hangs never gets ready. The tests of our own update need such
// versions; only binaries built with the tag "failpoints" have this.
func failing(c *cobra.Command) *cobra.Command {
	switch version := appliance.Version(); {
	case strings.HasSuffix(version, "-exits"):
		c.RunE = func(*cobra.Command, []string) error { return fmt.Errorf("the version is %s", version) }
	case strings.HasSuffix(version, "-hangs"):
		c.RunE = func(c *cobra.Command, _ []string) error {
			<-c.Context().Done()
			return nil
		}
	}
	return c
}
