// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/state"
)

// statusAnswer is what `rochdale status --json` prints: the daemon's status,
// with its findings in words.
type statusAnswer struct {
	appliance.Status
	Findings []View `json:"findings"`
	// Running is false when the daemon did not answer, and this is what the
	// disk knows.
	Running bool `json:"daemon_running"`
}

func newStatusCommand(a *app) *cobra.Command {
	return a.verb("status", "help.status", func(c *cobra.Command, _ []string) error {
		s, running, err := a.status(c.Context())
		if err != nil {
			return err
		}
		return a.tellStatus(statusAnswer{Status: s, Findings: a.printer.Views(s.Findings), Running: running})
	})
}

// status asks the daemon, and reads the disk when the daemon is dead.
func (a *app) status(ctx context.Context) (s appliance.Status, running bool, err error) {
	s, err = api.NewClient(a.paths.DaemonSocket()).Status(ctx)
	if !errors.Is(err, api.ErrNotRunning) {
		return s, true, err
	}
	if err := a.there(); err != nil {
		return s, false, err
	}
	db, err := state.OpenReadOnly(ctx, a.paths.State())
	if err != nil {
		return s, false, err
	}
	defer func() { err = errors.Join(err, db.CloseFile()) }()
	config, _ := a.config() // the doctor tells what is wrong with it; addresses are missing then
	s, err = appliance.StatusFromStore(ctx, db, config, a.doctor().Findings(ctx))
	return s, false, err
}

// there is an error on a machine without Rochdale, and one that the person
// may not look into.
func (a *app) there() error {
	_, err := os.Stat(a.paths.State())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return appliance.Problem("cli.not-installed", nil).WithCode(appliance.ExitNotThere)
	case errors.Is(err, os.ErrPermission):
		return appliance.Problem("cli.needs-root", err).WithCode(appliance.ExitUsage)
	}
	if err == nil && errors.Is(unix.Access(a.paths.State(), unix.R_OK), unix.EACCES) {
		return appliance.Problem("cli.needs-root", nil).WithCode(appliance.ExitUsage)
	}
	return err
}

// config is rochdale.yaml.
func (a *app) config() (appliance.Config, error) {
	f, err := appliance.OpenConfig(a.paths.Config())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return appliance.Config{}, appliance.Problem("doctor.config-missing", err, "path", a.paths.Config())
	case err != nil:
		return appliance.Config{}, appliance.Problem("doctor.config-unreadable", err, "path", a.paths.Config(), "detail", err)
	}
	defer f.Close()
	return appliance.ParseConfig(f)
}

func (a *app) tellStatus(s statusAnswer) error {
	if a.printer.JSON() {
		if err := a.printer.Object(s); err != nil {
			return err
		}
	} else {
		a.writeStatus(a.streams.Out, s)
	}
	if !s.Healthy {
		return exit(appliance.ExitCheckFailed)
	}
	return nil
}

func (a *app) writeStatus(w io.Writer, s statusAnswer) {
	if !s.Running {
		fmt.Fprintln(w, a.t("cli.status.daemon-dead"))
	}
	fmt.Fprintln(w, a.t(headline(s), "version", s.Version))
	for _, j := range s.Jobs {
		fmt.Fprintln(w, a.jobLine(s.Running, j))
	}
	a.stackTable(w, s)
	a.certificateTable(w, s)
	a.memoryTable(w, s)
	for _, v := range s.Findings {
		fmt.Fprintln(w)
		a.printer.view(w, v)
	}
}

// headline is what the status comes to. With a warning not all is well, although nothing
// has to be done at once.
func headline(s statusAnswer) string {
	switch {
	case !s.Healthy:
		return "cli.status.unhealthy"
	case slices.ContainsFunc(s.Findings, func(v View) bool { return v.Severity == appliance.Warning }):
		return "cli.status.warnings"
	default:
		return "cli.status.healthy"
	}
}

// jobLine tells of a job that is not over: it runs, or goes on when the daemon is back.
func (a *app) jobLine(running bool, j appliance.Job) string {
	id := "cli.status.job"
	if !running {
		id = "cli.status.job-waits"
	}
	return a.t(id, "plan", j.Plan, "about", a.about(j), "began", j.Opened.UTC().Format(minute))
}

func (a *app) stackTable(w io.Writer, s statusAnswer) {
	var rows [][]string
	for _, x := range s.Stacks {
		rows = append(rows, []string{x.Name, x.Version, a.t("cli.state." + x.State), x.URL})
	}
	a.section(w, []string{"cli.head.stack", "cli.head.version", "cli.head.state", "cli.head.address"}, rows)
}

func (a *app) certificateTable(w io.Writer, s statusAnswer) {
	var rows [][]string
	for _, c := range s.Certificates {
		end := "-"
		if !c.NotAfter.IsZero() {
			end = c.NotAfter.UTC().Format(minute)
		}
		rows = append(rows, []string{c.Name, end, c.Issuer})
	}
	a.section(w, []string{"cli.head.certificate", "cli.head.good-until", "cli.head.issuer"}, rows)
}

func (a *app) memoryTable(w io.Writer, s statusAnswer) {
	var rows [][]string
	for _, group := range []map[string]int64{s.MemoryBytes.Units, s.MemoryBytes.Containers} {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			rows = append(rows, []string{name, bytesText(group[name])})
		}
	}
	a.section(w, []string{"cli.head.part", "cli.head.memory"}, rows)
}

// section is a table after an empty line; without rows there is none.
func (a *app) section(w io.Writer, heads []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(w)
	a.table(w, heads, rows)
}

// table writes rows under the heads with these ids.
func (a *app) table(w io.Writer, heads []string, rows [][]string) {
	words := make([]string, len(heads))
	for i, id := range heads {
		words[i] = a.t(id)
	}
	table(w, words, rows)
}
