// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build !failpoints

package main

import "github.com/spf13/cobra"

// failing does nothing in a product build.
func failing(c *cobra.Command) *cobra.Command { return c }
