// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// repair finishes what an interrupted dpkg left half done.
func (i *install) repair() (step.Step, bool) {
	return step.Step{
		ID:       "repair",
		Effects:  effect("changes", i.f.HalfDone...),
		Estimate: 20 * time.Second,
		Done: func(ctx context.Context) (bool, error) {
			if err := i.apt().Wait(ctx); err != nil {
				return false, err
			}
			half, err := i.halfDone(ctx)
			return len(half) == 0, err
		},
		Do: func(ctx context.Context, _ step.Report) error {
			if err := i.apt().Repair(ctx); err != nil {
				return aptProblem("install.repair-failed", err)
			}
			half, err := i.halfDone(ctx)
			if err == nil && len(half) > 0 {
				return appliance.Problem("install.repair-failed", nil, "detail", strings.Join(half, ", "))
			}
			return err
		},
	}, len(i.f.HalfDone) > 0
}

func (i *install) halfDone(ctx context.Context) ([]string, error) {
	all, err := i.apt().Packages(ctx)
	if err != nil {
		return nil, err
	}
	var half []string
	for name, p := range all {
		if p.HalfDone() {
			half = append(half, name)
		}
	}
	return half, nil
}

func (i *install) packages() (step.Step, bool) {
	need := missing(i.f, packagesFor(i.f))
	plan := effect("installs", need...)
	if len(need) > 0 {
		plan = append(plan, step.Effect{Kind: "downloads", What: i.downloadWords(), Bytes: downloadBytes(i.f)})
	}
	return step.Step{
		ID:       "packages",
		Effects:  plan,
		Estimate: 40 * time.Second,
		Done: func(ctx context.Context) (bool, error) {
			if err := i.apt().Wait(ctx); err != nil {
				return false, err
			}
			left, half, err := i.unfinished(ctx)
			return len(left)+len(half) == 0, err
		},
		Do: i.installPackages,
	}, true
}

// downloadWords names what is fetched. Without package lists its size is not
// known before the lists are there.
func (i *install) downloadWords() string {
	if i.f.ListsThere {
		return "apt"
	}
	return "apt (~ 90 MB)"
}

// unfinished are the packages that are missing and those that are half done.
func (i *install) unfinished(ctx context.Context) (left, half []string, err error) {
	all, err := i.apt().Packages(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := i.f
	now.Packages = all
	for _, name := range packagesFor(i.f) {
		if all[name].HalfDone() {
			half = append(half, name)
		}
	}
	return missing(now, packagesFor(i.f)), half, nil
}

func (i *install) installPackages(ctx context.Context, report step.Report) error {
	left, _, err := i.unfinished(ctx)
	if err != nil {
		return err
	}
	half, err := i.halfDone(ctx)
	if err != nil {
		return err
	}
	if len(half) > 0 { // an interrupted run of ours
		report("dpkg --configure -a")
		if err := i.apt().Repair(ctx); err != nil {
			return aptProblem("install.repair-failed", err)
		}
	}
	report("apt-get update")
	update := i.apt().Update(ctx)
	if ctx.Err() != nil {
		return update
	}
	report("apt-get install")
	// A third party's mirror that does not answer must not stop us, as long as
	// the packages themselves can be had.
	if err := i.apt().Install(ctx, left...); err != nil {
		return aptProblem("install.packages-failed", errors.Join(err, update))
	}
	return nil
}

// aptProblem finds, in what apt said, the cause that a person can mend.
func aptProblem(id string, err error) error {
	var apt *host.AptError
	if !errors.As(err, &apt) {
		return err
	}
	for _, known := range [...]struct{ words, id string }{
		{"No space left on device", "install.disk-filled"},
		{"don't have enough free space", "install.disk-filled"},
		{"Could not get lock", "install.apt-locked"},
		{"Unable to acquire the dpkg", "install.apt-locked"},
		{"Unable to fetch", "install.network-lost"},
		{"Failed to fetch", "install.network-lost"},
		{"Temporary failure resolving", "install.network-lost"},
		{"Unable to locate package", "install.network-lost"},
		{"has no installation candidate", "install.network-lost"},
	} {
		if strings.Contains(err.Error(), known.words) {
			return appliance.Problem(known.id, err, "detail", firstLine(apt.Log))
		}
	}
	return appliance.Problem(id, err, "detail", firstLine(apt.Log))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// engineConfig comes before the engine, so that it starts once and right.
func (i *install) engineConfig() (step.Step, bool) {
	config, confErr := dockerConfig(i.f.Docker.Config)
	dropIn, unitErr := unit("engine.conf")
	file := public(i.at("etc/docker/daemon.json"), config)
	drop := public(i.unitPath(engineUnit+".d/50-rochdale.conf"), dropIn)
	return step.Step{
		ID:      "engine-config",
		Effects: effects(file, drop),
		Done:    func(context.Context) (bool, error) { return there(file, drop), errors.Join(confErr, unitErr) },
		Do: func(ctx context.Context, _ step.Report) error {
			if err := i.put(file, drop); err != nil {
				return err
			}
			return i.systemd().DaemonReload(ctx)
		},
	}, true
}

// engine pins and holds the container engine and sees that it runs.
func (i *install) engine() (step.Step, bool) {
	pin := i.at("etc/apt/preferences.d/rochdale-engine")
	return step.Step{
		ID:       "engine",
		Effects:  append(effect("writes", pin), effect("starts", engineUnit)...),
		Estimate: 3 * time.Second,
		Done: func(ctx context.Context) (bool, error) {
			versions, err := i.engineVersions(ctx)
			if err != nil || !there(public(pin, pinConfig(versions))) {
				return false, err
			}
			held, err := i.apt().Held(ctx)
			for name := range versions {
				if err != nil || !contains(held, name) {
					return false, err
				}
			}
			return i.running(ctx, engineUnit)
		},
		Do: func(ctx context.Context, _ step.Report) error { return i.holdEngine(ctx, pin) },
	}, true
}

func (i *install) holdEngine(ctx context.Context, pin string) error {
	versions, err := i.engineVersions(ctx)
	if err != nil {
		return err
	}
	if err := i.put(public(pin, pinConfig(versions))); err != nil {
		return err
	}
	if err := i.apt().Hold(ctx, sortedKeys(versions)...); err != nil {
		return err
	}
	if err := i.systemd().Enable(ctx, engineUnit); err != nil {
		return err
	}
	there, err := i.systemd().Active(ctx, engineUnit)
	if err != nil {
		return err
	}
	if there { // live-restore is taken over without a restart
		return i.systemd().Reload(ctx, engineUnit)
	}
	return i.systemd().Start(ctx, engineUnit)
}

func (i *install) engineVersions(ctx context.Context) (map[string]string, error) {
	all, err := i.apt().Packages(ctx)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, name := range engineFamily() {
		if p := all[name]; p.Installed() {
			versions[name] = p.Version
		}
	}
	return versions, nil
}

// running tells whether the units run now and will after a restart.
func (d Deps) running(ctx context.Context, units ...string) (bool, error) {
	active, err := d.systemd().Active(ctx, units...)
	if err != nil || !active {
		return false, err
	}
	return d.systemd().Enabled(ctx, units...)
}
