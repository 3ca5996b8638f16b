// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"rochdale/appliance"
)

// versionAnswer is what `rochdale version --json` prints.
type versionAnswer struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"`
	Go      string `json:"go"`
	Arch    string `json:"arch"`
}

func newVersionCommand(a *app) *cobra.Command {
	return a.verb("version", "help.version", func(*cobra.Command, []string) error {
		v := versionAnswer{Schema: 1, Version: appliance.Version(), Go: runtime.Version(), Arch: runtime.GOARCH}
		if a.printer.JSON() {
			return a.printer.Object(v)
		}
		return v.write(a.streams.Out)
	})
}

func (v versionAnswer) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "rochdale %s (%s, %s)\n", v.Version, v.Go, v.Arch)
	return err
}
