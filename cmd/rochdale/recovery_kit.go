// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/backups/kit"
)

func newRecoveryKitCommand(a *app) *cobra.Command {
	var to string
	c := a.verb("kit", "help.recovery.kit", func(c *cobra.Command, _ []string) error {
		return a.recoveryKit(c.Context(), to)
	})
	c.Flags().StringVar(&to, "output", "", a.t("flag.recovery.output-kit"))
	return c
}

// kitAnswer is what `rochdale recovery kit` ends with.
type kitAnswer struct {
	Schema int       `json:"schema"`
	File   string    `json:"file"`
	Serial int64     `json:"serial"`
	Issued time.Time `json:"issued"`
	Set    string    `json:"set"`
	Need   int       `json:"need"`
	Of     int       `json:"of"`
}

// recoveryKit writes the co-op's own copy of the kit. Nobody but the holders of
// pages can open it; it is root's alone all the same.
func (a *app) recoveryKit(ctx context.Context, to string) error {
	if to == "" {
		return usage("cli.recovery.output")
	}
	if err := a.there(); err != nil {
		return err
	}
	path, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if err := mayBecomeKit(path); err != nil {
		return badOutput(path, err)
	}
	k, err := a.daemonClient().RecoveryKit(ctx)
	if err != nil {
		return err
	}
	private := host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()}
	if err := host.NewFiles().Write(path, k.File, private); err != nil {
		return badOutput(path, err)
	}
	if err := a.daemonClient().KitCopied(ctx, k.Serial); err != nil {
		return err
	}
	answer := kitAnswer{1, path, k.Serial, k.Issued, k.Set, k.Need, k.Of}
	a.printer.Result(answer, func(w io.Writer) {
		fmt.Fprintln(w, a.t("cli.recovery.kit", "file", path, "issued", k.Issued.UTC().Format(minute), "need", k.Need, "of", k.Of))
	})
	return nil
}

// mayBecomeKit wants a name that nothing has, or that an earlier kit has: whatever else is
// there would be lost.
func mayBecomeKit(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s: %w", path, syscall.EISDIR)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	case info.Size() == 0:
		return nil
	}
	begin, err := head(path, int64(len(kit.Head)))
	if err == nil && kit.Sealed(begin) != nil {
		err = fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	return err
}

// badOutput tells a place that can not be written to, because there is no such folder or
// something else is there, from all else that goes wrong with a disk.
func badOutput(path string, err error) error {
	for _, typed := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, syscall.EISDIR, syscall.ENOTDIR} {
		if errors.Is(err, typed) {
			return appliance.Problem("cli.recovery.bad-output", err, "path", path).WithCode(appliance.ExitUsage)
		}
	}
	return err
}
