// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// Result is what an installation ended with; its last steps fill it in.
type Result struct {
	URL       string              `json:"url"`
	RootURL   string              `json:"root_url,omitempty"` // certificate of an own authority
	AdminLink string              `json:"admin_link,omitempty"`
	Findings  []appliance.Finding `json:"-"`
	// Restored is the snapshot that a recovery went by; nil after an installation.
	Restored *appliance.RescuePoint `json:"restored,omitempty"`
}

// install is one installation: what is wanted, what was seen, and the tools.
type install struct {
	Deps
	o      Options
	f      Facts
	config appliance.Config
	result *Result
}

// Plan makes the plan that turns the machine of these facts into what the
// options ask for. It changes nothing; the facts must have no blocking finding.
func Plan(o Options, f Facts, d Deps) (step.Plan, *Result, error) {
	earlier, err := earlierConfig(f)
	if err != nil {
		return step.Plan{}, nil, err
	}
	i := &install{Deps: d, o: o, f: f, result: &Result{URL: "https://" + o.Domain + "/"}}
	i.config = o.Config(earlier, i.rootPath())
	if o.TLS == "internal" {
		i.result.RootURL = "http://" + o.Domain + appliance.RootPath
	}
	plan := step.Plan{Name: "install"}
	for _, s := range []func() (step.Step, bool){
		i.state, i.program, i.unmask, i.engineConfig, i.repair, i.packages, i.engine, i.users, i.folders,
		i.swap, i.clock, i.configuration, i.firewall, i.updates, i.units,
		i.edge, i.daemon, i.stack, i.certificate, i.finish,
	} {
		if one, needed := s(); needed {
			plan.Steps = append(plan.Steps, one)
		}
	}
	return plan, i.result, nil
}

// Prepare makes the folder in which the journal lies. It comes before the plan,
// because the plan is journalled.
func Prepare(d Deps) error {
	return d.Files.MkdirAll(d.Paths.Var(), host.Attr{Mode: throughDir})
}

// throughDir lets unprivileged services reach what is theirs further down, and
// nobody list what else is there.
const throughDir fs.FileMode = 0o711

// state keeps, before anything else, what the machine was like.
func (i *install) state() (step.Step, bool) {
	return step.Step{
		ID:      "state",
		Effects: effect("creates", i.Paths.Var(), i.Paths.ConfigDir()),
		Do: func(context.Context, step.Report) error {
			if err := i.Files.MkdirAll(i.Paths.ConfigDir(), host.Attr{Mode: publicDir}); err != nil {
				return err
			}
			return i.keepRecord()
		},
	}, true
}

func (i *install) keepRecord() error {
	r, err := ReadRecord(i.Paths)
	if err != nil {
		return appliance.Problem("install.record-unreadable", err, "detail", err)
	}
	if r == nil || !r.Removed.IsZero() {
		r = firstRecord(i.f)
	}
	r.Version, r.Program, r.Stack, r.Bundle, r.Domain = i.o.Version, i.programName(), i.o.Stack, i.o.Bundle, i.o.Domain
	data, err := i.config.Encode()
	if err != nil {
		return err
	}
	r.Config, r.ACMERoot, r.Finished = string(data), i.o.ACMERoot, time.Time{}
	return r.write(i.Paths, i.Files)
}

// firstRecord notes what was there before us.
func firstRecord(f Facts) *Record {
	r := &Record{
		Schema: recordSchema, Began: time.Now().UTC().Truncate(time.Second),
		Before: installedNames(f), EngineThere: f.Docker.Package != "", HeldBefore: f.Held, Masked: f.Masked,
		Applied: map[string]string{},
	}
	if f.Docker.Config != nil {
		before := string(f.Docker.Config)
		r.DockerConfig = &before
	}
	return r
}

// programName is the folder of this binary under versions/.
func (i *install) programName() string {
	return i.o.Version + "-" + i.f.Program.Digest[:shortDigest]
}

func (i *install) program() (step.Step, bool) {
	folder, file := i.versions(i.programName()), i.binary(i.programName())
	links := map[string]string{i.at("usr/local/bin/rochdale"): "../lib/rochdale/daemon"}
	for _, l := range unitLinks() {
		links[i.link(l.name)] = target(i.programName())
	}
	return step.Step{
		ID: "program",
		Effects: []step.Effect{
			{Kind: "writes", What: file, Bytes: i.f.Program.Size},
			{Kind: "writes", What: i.at("usr/local/bin/rochdale")},
		},
		Estimate: time.Second,
		Done: func(context.Context) (bool, error) {
			for path, target := range links {
				if !pointsTo(path, target) {
					return false, nil
				}
			}
			digest, _, err := digestOf(file)
			return err == nil && digest == i.f.Program.Digest, nil
		},
		Do: func(context.Context, step.Report) error { return i.copyProgram(folder, file, links) },
	}, true
}

func pointsTo(path, target string) bool {
	now, err := os.Readlink(path)
	return err == nil && now == target
}

func (i *install) copyProgram(folder, file string, links map[string]string) error {
	if err := i.Files.MkdirAll(folder, host.Attr{Mode: publicDir}); err != nil {
		return err
	}
	if digest, _, err := digestOf(file); err != nil || digest != i.f.Program.Digest {
		source, err := os.Open(i.o.Program)
		if err != nil {
			return fmt.Errorf("read this program: %w", err)
		}
		err = errors.Join(i.Files.WriteFrom(file, source, host.Attr{Mode: publicDir}), source.Close())
		if err != nil {
			return err
		}
	}
	if err := i.Files.MkdirAll(i.at("usr/local/bin"), host.Attr{Mode: publicDir}); err != nil {
		return err
	}
	for path, target := range links {
		if err := i.Files.Symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}
