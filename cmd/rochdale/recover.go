// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/backups/kit"
	"rochdale/installer"
)

// recoverOptions are the flags of `rochdale recover`.
type recoverOptions struct {
	kit     string
	pages   []string
	without []string
	force   bool
}

// newRecoverCommand is `rochdale recover`.
func newRecoverCommand(a *app) *cobra.Command {
	var o recoverOptions
	c := a.verb("recover", "help.recover", func(c *cobra.Command, _ []string) error {
		return a.recover(c.Context(), o)
	})
	f := c.Flags()
	f.StringVar(&o.kit, "kit", "", a.t("flag.recover.kit"))
	f.StringArrayVar(&o.pages, "pages", nil, a.t("flag.recover.pages"))
	f.StringArrayVar(&o.without, "without", nil, a.t("flag.recover.without"))
	f.BoolVar(&o.force, "force", false, a.t("flag.install.force"))
	c.Annotations = map[string]string{plannable: ""}
	return c
}

// recover is the walk of a recovery: open the kit, look, show, do, tell. After the
// pages it asks nothing: whoever holds them has agreed.
func (a *app) recover(ctx context.Context, o recoverOptions) error {
	deps := installer.RealDeps(a.box())
	deps.Paths = a.paths
	if err := a.mayLook(); err != nil {
		return err
	}
	if done, err := a.recovered(o.kit); err != nil || done {
		return err
	}
	if err := a.bare(); err != nil {
		return err
	}
	legacy, err := a.legacy(ctx, o)
	if err != nil {
		return err
	}
	if a.flags.Plan || !installer.Root() {
		return a.lookAndRecover(ctx, deps, legacy, o)
	}
	return locked(deps, func() error { return a.lookAndRecover(ctx, deps, legacy, o) })
}

// mayLook wants the rights of root where a machine has something that only root may read:
// it is not damaged, and nobody is to move it away.
func (a *app) mayLook() error {
	_, kept := installer.ReadLegacy(a.paths)
	_, record := installer.ReadRecord(a.paths)
	_, data := os.ReadDir(filepath.Dir(a.paths.Stack("any")))
	for _, err := range []error{kept, record, data} {
		if errors.Is(err, fs.ErrPermission) {
			return appliance.Problem("cli.needs-root", err).WithCode(appliance.ExitUsage)
		}
	}
	return nil
}

// recovered tells that a recovery with this very kit has ended here: whoever lost sight
// of it runs the same command again.
func (a *app) recovered(file string) (bool, error) {
	if file == "" {
		return false, nil
	}
	if kept, err := installer.ReadLegacy(a.paths); err != nil || kept != nil {
		return false, err // it has not
	}
	r, err := installer.ReadRecord(a.paths)
	if err != nil || r == nil || r.Recovered == "" || !r.Removed.IsZero() {
		return false, nil //nolint:nilerr // what can not be read is told next
	}
	sealed, err := kitFile(file)
	if err != nil || sumOf(sealed) != r.Recovered {
		return false, err
	}
	config, err := appliance.ReadConfig(a.paths.Config())
	if err != nil {
		return false, err
	}
	a.printer.Note("cli.recover.ended-before")
	return true, a.installed(&installer.Result{URL: "https://" + installer.RecoverOptions(config, installer.Options{}).Domain + "/"})
}

// kitFile reads a sealed kit.
func kitFile(name string) ([]byte, error) {
	data, err := smallFile(name, kit.MaxSealed)
	if err != nil {
		return nil, appliance.Problem("cli.recover.kit-file", err, "file", name, "detail", err).WithCode(appliance.ExitUsage)
	}
	return data, nil
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// bare refuses a machine on which a co-op's data are, unless they are those of this
// very recovery.
func (a *app) bare() error {
	if kept, err := installer.ReadLegacy(a.paths); err != nil || kept != nil {
		return err
	}
	r, err := installer.ReadRecord(a.paths)
	if err != nil {
		return appliance.Problem("install.record-unreadable", err, "detail", err)
	}
	data, err := os.ReadDir(filepath.Dir(a.paths.Stack("any")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A record of a run that never ended is of a recovery that was cut off early.
	if len(data) > 0 || r != nil && (!r.Finished.IsZero() || !r.Removed.IsZero()) {
		return appliance.Problem("recover.not-bare", nil, "path", a.paths.Var()).WithCode(appliance.ExitUsage)
	}
	return nil
}

func (a *app) lookAndRecover(ctx context.Context, deps installer.Deps, legacy installer.Legacy, more recoverOptions) error {
	config, err := legacy.Config()
	if err != nil {
		return err
	}
	if err := a.known(config, more.without); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o := installer.RecoverOptions(config, installer.Options{Program: program, Version: appliance.Version(), Force: more.force, SSHClient: overSSH(a.paths, config)})
	facts, found := installer.Preflight(ctx, installer.RealProbe(), o)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	found = suiting(found)
	a.printer.Findings(found)
	if stop := installer.Blocking(found); len(stop) > 0 {
		a.printer.Note("install.stopped", "count", len(stop))
		return a.stopped(found)
	}
	plan, result, err := installer.PlanRecovery(o, facts, deps, legacy, a.newRescuer(config, more.without))
	if err != nil {
		return err
	}
	if a.flags.Plan {
		return a.printer.Plan(plan)
	}
	if err := a.carryOut(ctx, deps, plan); err != nil {
		return withLog(err, "/var/lib/rochdale/apt.log, journalctl -u rochdale -u rochdale-edge")
	}
	return a.installed(result, a.afterRecovery(found)...)
}

// known wants the names of repositories to be those of the kit: with a slip in one, the
// repository that is meant would still be waited for.
func (a *app) known(config appliance.Config, names []string) error {
	var all []string
	for _, r := range appliance.Repositories(a.paths, config) {
		all = append(all, r.Name)
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return usage("cli.recover.without", "repository", name, "known", strings.Join(all, ", "))
		}
	}
	return nil
}

// suiting makes of what was found before an installation what fits a recovery: the name
// points to the lost machine as a rule, and what goes on is told already.
func suiting(found []appliance.Finding) []appliance.Finding {
	all := []appliance.Finding{{Severity: appliance.Notice, Message: appliance.Message{ID: "recover.takes-over"}}}
	for _, f := range found {
		switch f.ID {
		case "install.goes-on":
		case "install.domain-nowhere", "install.domain-elsewhere", "install.domain-behind-router":
			all = append(all, appliance.Finding{Severity: appliance.Notice, Message: appliance.Message{ID: domainLater, Args: appliance.Args("domain", f.Args["domain"])}})
		default:
			all = append(all, f)
		}
	}
	return all
}

// domainLater is the finding that the name does not lead to this machine yet.
const domainLater = "recover.domain-later"

// afterRecovery is what is left to people.
func (a *app) afterRecovery(found []appliance.Finding) []string {
	steps := []string{a.t("recover.old-off")}
	for _, f := range found {
		if f.ID == domainLater {
			steps = append([]string{a.t("recover.point-here", "domain", f.Args["domain"])}, steps...)
		}
	}
	return steps
}

// legacy is what an earlier, interrupted run has kept, or else what is in the kit.
// Another kit than the one of that run begins anew.
func (a *app) legacy(ctx context.Context, o recoverOptions) (installer.Legacy, error) {
	kept, err := installer.ReadLegacy(a.paths)
	if err != nil {
		return installer.Legacy{}, err
	}
	if o.kit == "" && kept == nil {
		return installer.Legacy{}, usage("cli.recover.kit")
	}
	var file []byte
	if o.kit != "" {
		if file, err = kitFile(o.kit); err != nil {
			return installer.Legacy{}, err
		}
	}
	sum := sumOf(file)
	if kept != nil && (file == nil || kept.Kit == sum) {
		a.printer.Note("cli.recover.goes-on")
		return *kept, nil
	}
	if err := kit.Sealed(file); err != nil { // before anybody types a page
		return installer.Legacy{}, err
	}
	l, err := a.openKit(ctx, file, o.pages, kept)
	l.Kit = sum
	return l, err
}

// openKit opens a kit with pages from files or from a person. It comes in the place of the
// one that an interrupted run has kept, if there is one: what that run put on this machine
// goes with it, and is nobody's own.
func (a *app) openKit(ctx context.Context, file []byte, pages []string, kept *installer.Legacy) (installer.Legacy, error) {
	hand, err := a.typedPages(ctx, pages)
	if err != nil {
		return installer.Legacy{}, err
	}
	secret, err := hand.Secret()
	if err != nil {
		return installer.Legacy{}, err
	}
	content, err := kit.Open(file, secret)
	if err != nil {
		return installer.Legacy{}, err
	}
	recipient, err := secret.Recipient()
	if err != nil {
		return installer.Legacy{}, err
	}
	b := &kitBounds{here: func(path string) bool { return a.byHand(path) && (kept == nil || !kept.Wrote(a.paths, path)) }}
	l, err := b.legacyOf(content, recipient)
	for _, left := range b.left {
		a.printer.Note("cli.recover.kit-left-out", "repository", left.Repository, "what", left.Option)
	}
	return l, err
}

// byHand tells whether somebody has put a file of the kit in place on this machine.
func (a *app) byHand(path string) bool {
	info, err := os.Lstat(filepath.Join("/", a.paths.Root, path))
	return err == nil && info.Mode().IsRegular()
}
