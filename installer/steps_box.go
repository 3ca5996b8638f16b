// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// configFiles are what daemon and edge read. The edge's are its own, so it has
// to be asked for when its user is there.
func (i *install) configFiles() (config []wanted, settings wanted, err error) {
	data, err := i.config.Encode()
	if err != nil {
		return nil, wanted{}, err
	}
	owner, err := ownerOf(edgeUser)
	if err != nil {
		return nil, wanted{}, err
	}
	owner.Mode = privateFile
	s := appliance.EdgeSettings{
		Schema: 1, TLS: i.config.TLS.Mode, Email: i.config.Email,
		ACMECA: i.config.TLS.ACMECA, ACMERoot: i.config.TLS.ACMERoot,
	}
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, wanted{}, err
	}
	settings = wanted{filepath.Join(i.Paths.Edge(), "settings.json"), append(raw, '\n'), owner}
	config = []wanted{{i.Paths.Config(), data, host.Attr{Mode: privateFile}}, settings}
	if i.o.ACMERoot != "" {
		config = append(config, public(i.rootPath(), i.f.RootPEM))
	}
	return config, settings, nil
}

func (i *install) configuration() (step.Step, bool) {
	return step.Step{
		ID:      "configuration",
		Effects: effect("writes", i.Paths.Config(), filepath.Join(i.Paths.Edge(), "settings.json")),
		Done: func(context.Context) (bool, error) {
			files, _, err := i.configFiles()
			return err == nil && there(files...), err
		},
		Do: func(context.Context, step.Report) error {
			files, _, err := i.configFiles()
			if err != nil {
				return err
			}
			return i.put(files...)
		},
	}, true
}

func (i *install) firewall() (step.Step, bool) {
	file := public(i.firewallPath(), firewallRules(i.f))
	data, unitErr := unit(firewallUnit)
	service := public(i.unitPath(firewallUnit), data)
	mark := digestParts(file.data, data)
	return step.Step{
		ID:      "firewall",
		Effects: append(effects(file, service), effect("starts", firewallUnit)...),
		Done: func(ctx context.Context) (bool, error) {
			if unitErr != nil || !there(file, service) || !i.applied(firewallUnit, mark) {
				return false, unitErr
			}
			if up, err := i.running(ctx, firewallUnit); err != nil || !up {
				return false, err
			}
			return i.nft().HasTable(ctx, "inet", "rochdale")
		},
		Do: func(ctx context.Context, _ step.Report) error {
			if err := i.nft().Check(ctx, file.data); err != nil {
				return appliance.Problem("install.firewall-refused", err, "detail", err)
			}
			if err := i.put(file, service); err != nil {
				return err
			}
			return i.restart(ctx, firewallUnit, mark)
		},
	}, true
}

// restart brings a unit up with the files of now, and keeps that it did. A kill
// in between restarts it once more, never once less.
func (i *install) restart(ctx context.Context, name, mark string) error {
	if err := i.systemd().DaemonReload(ctx); err != nil {
		return err
	}
	if err := i.systemd().Enable(ctx, name); err != nil {
		return err
	}
	if err := i.systemd().Restart(ctx, name); err != nil {
		return err
	}
	return amend(i.Paths, i.Files, func(r *Record) {
		if r.Applied == nil {
			r.Applied = map[string]string{}
		}
		r.Applied[name] = mark
	})
}

// applied tells whether the unit was last started with these files.
func (i *install) applied(name, mark string) bool {
	r, err := ReadRecord(i.Paths)
	return err == nil && r != nil && r.Applied[name] == mark
}

// ownUnits are those that start at boot: edge, daemon, and the guard of our own
// updates, which ends at once while there is none.
func ownUnits() []string { return append(edgeSockets(), edgeUnit, daemonUnit, GuardUnit) }

// unitList are their files.
func (i *install) unitList() ([]wanted, error) {
	var files []wanted
	var errs []error
	for _, name := range ownUnits() {
		data, err := unit(name)
		errs = append(errs, err)
		files = append(files, public(i.unitPath(name), data))
	}
	return files, errors.Join(errs...)
}

func (i *install) units() (step.Step, bool) {
	files, unitErr := i.unitList()
	return step.Step{
		ID:      "units",
		Effects: effects(files...),
		Done: func(ctx context.Context) (bool, error) {
			if unitErr != nil || !there(files...) {
				return false, unitErr
			}
			return i.loaded(ctx, ownUnits()...)
		},
		Do: func(ctx context.Context, _ step.Report) error {
			if err := i.put(files...); err != nil {
				return err
			}
			if err := i.systemd().DaemonReload(ctx); err != nil {
				return err
			}
			return i.systemd().Enable(ctx, ownUnits()...)
		},
	}, true
}

// loaded tells whether systemd has read the unit files of now and starts the
// units at boot.
func (i *install) loaded(ctx context.Context, names ...string) (bool, error) {
	for _, name := range names {
		v, err := i.systemd().Show(ctx, name, "LoadState", "NeedDaemonReload")
		if err != nil || v["LoadState"] != "loaded" || v["NeedDaemonReload"] == "yes" {
			return false, err
		}
	}
	return i.systemd().Enabled(ctx, names...)
}

// mark is what a unit was started with: its program, its unit file and what it
// reads once, at its start.
func (i *install) mark(name string, more ...[]byte) (string, error) {
	data, err := unit(name)
	return digestParts(append([][]byte{[]byte(i.f.Program.Digest), data}, more...)...), err
}

func (i *install) edgeMark() (string, error) {
	_, settings, err := i.configFiles()
	if err != nil {
		return "", err
	}
	return i.mark(edgeUnit, settings.data, i.f.RootPEM)
}

func (i *install) daemonMark() (string, error) {
	data, err := os.ReadFile(i.Paths.Config())
	if err != nil {
		return "", err
	}
	return i.mark(daemonUnit, data)
}

func (i *install) edge() (step.Step, bool) {
	return step.Step{
		ID:       "edge",
		Effects:  effect("starts", append(edgeSockets(), edgeUnit)...),
		Estimate: 2 * time.Second,
		Done: func(ctx context.Context) (bool, error) {
			want, err := i.edgeMark()
			if err != nil || !i.applied(edgeUnit, want) {
				return false, err
			}
			return i.running(ctx, append(edgeSockets(), edgeUnit)...)
		},
		Do: func(ctx context.Context, _ step.Report) error {
			want, err := i.edgeMark()
			if err != nil {
				return err
			}
			// The sockets first: they hold whoever comes while the edge starts.
			if err := i.systemd().Start(ctx, edgeSockets()...); err != nil {
				return err
			}
			return i.restart(ctx, edgeUnit, want)
		},
	}, true
}

func (i *install) daemon() (step.Step, bool) {
	return step.Step{
		ID:       "daemon",
		Effects:  effect("starts", daemonUnit),
		Estimate: 2 * time.Second,
		Done: func(ctx context.Context) (bool, error) {
			want, err := i.daemonMark()
			if err != nil || !i.applied(daemonUnit, want) {
				return false, err
			}
			if up, err := i.running(ctx, daemonUnit); err != nil || !up {
				return false, err
			}
			return i.Box.Ready(ctx) == nil, nil
		},
		Do: func(ctx context.Context, _ step.Report) error {
			want, err := i.daemonMark()
			if err != nil {
				return err
			}
			if err := i.restart(ctx, daemonUnit, want); err != nil {
				return err
			}
			return i.waitReady(ctx)
		},
	}, true
}

// readyBound is how long a daemon may take to answer after it has started.
const readyBound = 3 * time.Minute

func (i *install) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyBound)
	defer cancel()
	for {
		err := i.Box.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return appliance.Problem("install.daemon-silent", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (i *install) stack() (step.Step, bool) {
	return step.Step{
		ID:       "stack",
		Effects:  effect("starts", i.o.Stack),
		Estimate: 10 * time.Second,
		Do: func(ctx context.Context, report step.Report) error {
			return i.Box.Apply(ctx, i.o.Stack, i.o.Bundle, report)
		},
	}, true
}

// certificate waits, bounded, for the first answer over HTTPS. That it does not
// come is a warning: the domain may be pointed here later.
func (i *install) certificate() (step.Step, bool) {
	return step.Step{
		ID:       "certificate",
		Effects:  effect("downloads", i.o.Domain),
		Estimate: 10 * time.Second,
		Do: func(ctx context.Context, report step.Report) error {
			if err := firstAnswer(ctx, i.o.Domain, report); err != nil {
				if ctx.Err() != nil {
					return err
				}
				i.result.Findings = append(i.result.Findings, finding(appliance.Warning, "install.no-certificate-yet",
					"domain", i.o.Domain, "detail", err))
			}
			return nil
		},
	}, true
}

func (i *install) finish() (step.Step, bool) {
	return step.Step{
		ID: "finish",
		Do: func(ctx context.Context, _ step.Report) error {
			found, err := i.Box.Findings(ctx)
			if err != nil {
				return err
			}
			i.result.Findings = append(i.result.Findings, found...)
			if i.result.AdminLink, err = i.Box.FirstAdmin(ctx, i.o.Stack); err != nil {
				return err
			}
			return amend(i.Paths, i.Files, func(r *Record) { r.Finished = time.Now().UTC().Truncate(time.Second) })
		},
	}, true
}
