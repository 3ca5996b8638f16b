// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/backups"
	"rochdale/stacks/bundle"
)

// versionAnswer is what `rochdale version --json` prints.
type versionAnswer struct {
	Schema  int            `json:"schema"`
	Version string         `json:"version"`
	Go      string         `json:"go"`
	Arch    string         `json:"arch"`
	Restic  *versionRestic `json:"restic"` // null: built without
	Stacks  []versionStack `json:"stacks"` // empty: built without
}

type versionRestic struct {
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

type versionStack struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

func newVersionCommand(a *app) *cobra.Command {
	return a.verb("version", "help.version", func(c *cobra.Command, _ []string) error {
		v, err := readVersion(c.Context())
		if err != nil {
			return err
		}
		if a.printer.JSON() {
			return a.printer.Object(v)
		}
		a.writeVersion(a.streams.Out, v)
		return nil
	})
}

func readVersion(ctx context.Context) (versionAnswer, error) {
	v := versionAnswer{Schema: 1, Version: appliance.Version(), Go: runtime.Version(), Arch: runtime.GOARCH, Stacks: []versionStack{}}
	restic, err := backups.Restic()
	if err != nil && !errors.Is(err, backups.ErrBuiltWithout) {
		return v, err
	}
	if err == nil {
		v.Restic = &versionRestic{Version: restic.Version, Digest: "sha256:" + restic.SHA256}
	}
	entries, err := bundle.Catalog(ctx)
	for _, e := range entries {
		v.Stacks = append(v.Stacks, versionStack{Name: e.Name, Version: e.Version, Digest: e.Digest})
	}
	return v, err
}

func (a *app) writeVersion(w io.Writer, v versionAnswer) {
	fmt.Fprintf(w, "rochdale %s (%s, %s)\n", v.Version, v.Go, v.Arch)
	if v.Restic == nil {
		fmt.Fprintln(w, a.t("cli.version.no-restic"))
	} else {
		fmt.Fprintln(w, a.t("cli.version.restic", "version", v.Restic.Version))
	}
	if len(v.Stacks) == 0 {
		fmt.Fprintln(w, a.t("cli.version.no-stacks"))
	}
	for _, s := range v.Stacks {
		fmt.Fprintln(w, a.t("cli.version.stack", "name", s.Name, "version", s.Version, "digest", s.Digest))
	}
}
