// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// brought are the packages that an installation asked for and that were not
// there before it. Without a record nobody knows, and none is removed.
func (u *uninstall) brought(ctx context.Context) ([]string, error) {
	if u.record.Before == nil {
		return nil, nil
	}
	all, err := u.apt().Packages(ctx)
	if err != nil {
		return nil, err
	}
	foreign, err := u.sweep.Foreign(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range packagesFor(Facts{}) {
		engine := slices.Contains(engineFamily(), name)
		if all[name].Installed() && !contains(u.record.Before, name) && (!engine || !foreign) {
			list = append(list, name)
		}
	}
	return list, nil
}

// packages removes what the installation brought, and what came only because of it.
func (u *uninstall) packages() (step.Step, bool) {
	pin := u.at("etc/apt/preferences.d/rochdale-engine")
	return step.Step{
		ID:       "packages",
		Effects:  append(effect("removes", pin), effect("removes", u.expected()...)...),
		Estimate: 20 * time.Second,
		Do: func(ctx context.Context, _ step.Report) error {
			if err := u.apt().Wait(ctx); err != nil {
				return err
			}
			if err := errors.Join(u.Files.Remove(pin), u.unhold(ctx)); err != nil {
				return err
			}
			if u.r.KeepPackages {
				return nil
			}
			return u.removePackages(ctx)
		},
	}, true
}

// expected names, for the plan, the packages that will go.
func (u *uninstall) expected() []string {
	if u.record.Before == nil || u.r.KeepPackages {
		return nil
	}
	var list []string
	for _, name := range packagesFor(Facts{}) {
		if !contains(u.record.Before, name) {
			list = append(list, name)
		}
	}
	return list
}

func (u *uninstall) unhold(ctx context.Context) error {
	held, err := u.apt().Held(ctx)
	if err != nil {
		return err
	}
	var ours []string
	for _, name := range held {
		if slices.Contains(engineFamily(), name) && !contains(u.record.HeldBefore, name) {
			ours = append(ours, name)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	return u.apt().Unhold(ctx, ours...)
}

func (u *uninstall) removePackages(ctx context.Context) error {
	half, err := (&install{Deps: u.Deps}).halfDone(ctx)
	if err != nil {
		return err
	}
	if len(half) > 0 {
		if err := u.apt().Repair(ctx); err != nil {
			return aptProblem("install.repair-failed", err)
		}
	}
	list, err := u.brought(ctx)
	if err != nil {
		return err
	}
	if list, err = u.unneeded(ctx, list); err != nil {
		return err
	}
	if len(list) > 0 {
		if err := u.apt().Remove(ctx, list...); err != nil {
			return aptProblem("uninstall.packages-failed", err)
		}
	}
	// The removal of some makes orphans of others.
	for range 5 {
		if more, err := u.removeOrphans(ctx); err != nil || !more {
			return err
		}
	}
	return nil
}

// unneeded are those of the list that can go without taking anything along that
// was here before us or that somebody asked for: apt removes whatever depends
// on what it removes.
func (u *uninstall) unneeded(ctx context.Context, list []string) ([]string, error) {
	manual, err := u.apt().Manual(ctx)
	if err != nil {
		return nil, err
	}
	harmless := func(list []string) (bool, error) {
		all, err := u.apt().WouldRemove(ctx, list...)
		return !slices.ContainsFunc(all, func(name string) bool {
			return !slices.Contains(list, name) && (contains(u.record.Before, name) || slices.Contains(manual, name))
		}), err
	}
	if len(list) == 0 {
		return nil, nil
	}
	if ok, err := harmless(list); ok || err != nil {
		return list, err
	}
	var out []string
	for _, name := range list {
		more := append(slices.Clone(out), name)
		ok, err := harmless(more)
		if err != nil {
			return nil, err
		}
		if ok {
			out = more
		}
	}
	return out, nil
}

// removeOrphans removes what apt itself calls no longer needed, of the packages
// that came after the installation began; what was there before stays.
func (u *uninstall) removeOrphans(ctx context.Context) (more bool, err error) {
	orphans, err := u.apt().Orphans(ctx)
	if err != nil {
		return false, err
	}
	var list []string
	for _, name := range orphans {
		if u.record.Before != nil && !contains(u.record.Before, name) {
			list = append(list, name)
		}
	}
	if list, err = u.unneeded(ctx, list); err != nil || len(list) == 0 {
		return false, err
	}
	if err := u.apt().Remove(ctx, list...); err != nil {
		return false, aptProblem("uninstall.packages-failed", err)
	}
	return true, nil
}

// engine gives the container engine its own configuration back.
func (u *uninstall) engine() (step.Step, bool) {
	config := u.at("etc/docker/daemon.json")
	drop := u.unitPath(engineUnit + ".d/50-rochdale.conf")
	return step.Step{
		ID:      "engine",
		Effects: append(effect("removes", drop), effect("changes", config)...),
		Do: func(ctx context.Context, _ step.Report) error {
			if err := u.restoreConfig(config); err != nil {
				return err
			}
			if err := u.Files.Remove(drop); err != nil {
				return err
			}
			if err := removeEmpty(u.unitPath(engineUnit+".d"), u.at("etc/docker")); err != nil {
				return err
			}
			return u.reloadEngine(ctx)
		},
	}, true
}

func (u *uninstall) restoreConfig(path string) error {
	ours, err := u.configIsOurs(path)
	switch {
	case err != nil || !ours:
		return err // somebody changed it after us: it stays, and is listed
	case u.record.DockerConfig == nil:
		return u.Files.Remove(path)
	default:
		return u.Files.Write(path, []byte(*u.record.DockerConfig), host.Attr{Mode: publicFile})
	}
}

// configIsOurs tells whether daemon.json is what we made of what was there.
func (u *uninstall) configIsOurs(path string) (bool, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var before []byte
	if u.record.DockerConfig != nil {
		before = []byte(*u.record.DockerConfig)
	}
	made, err := dockerConfig(before)
	return err == nil && string(made) == string(data), err
}

func (u *uninstall) reloadEngine(ctx context.Context) error {
	if err := u.systemd().DaemonReload(ctx); err != nil {
		return err
	}
	active, err := u.systemd().Active(ctx, engineUnit)
	if err != nil || !active {
		return err
	}
	return u.systemd().Reload(ctx, engineUnit)
}

// removeEmpty removes folders that nothing is in.
func removeEmpty(folders ...string) error {
	for _, f := range folders {
		entries, err := os.ReadDir(f)
		if err != nil || len(entries) > 0 {
			continue // not there, or not empty: nothing to do
		}
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

func (u *uninstall) removeUser(ctx context.Context, name string) error {
	_, err := u.Runner.Run(ctx, host.Command{Name: "userdel", Args: []string{name}})
	return err
}

// remains looks at what is left, at the very end.
func (u *uninstall) remains() (step.Step, bool) {
	return step.Step{
		ID: "remains",
		Do: func(ctx context.Context, _ step.Report) error {
			list, err := u.whatIsLeft(ctx)
			u.left.List = list
			return err
		},
	}, true
}

func (u *uninstall) whatIsLeft(ctx context.Context) ([]Remain, error) {
	list := []Remain{}
	add := func(kind string, path string) {
		if !gone(path) {
			list = append(list, Remain{kind, path})
		}
	}
	if !u.r.Purge { // else it goes after this
		add("data", u.Paths.Var())
	}
	add("configuration", u.Paths.ConfigDir())
	add("engine", u.at("var/lib/docker"))
	add("settings", u.at("etc/docker/daemon.json"))
	add("users", u.at("etc/sysusers.d/rochdale.conf"))
	all, err := u.apt().Packages(ctx)
	if err != nil || u.record.Before == nil {
		return list, err
	}
	var packages, settings []string
	for _, name := range sortedKeys(all) {
		p := all[name]
		switch {
		case contains(u.record.Before, name):
		case p.Installed():
			packages = append(packages, name)
		case strings.HasPrefix(p.Status, "rc"):
			settings = append(settings, name)
		}
	}
	if len(packages) > 0 {
		list = append(list, Remain{"packages", strings.Join(packages, " ")})
	}
	if len(settings) > 0 {
		list = append(list, Remain{"settings", strings.Join(settings, " ")})
	}
	return list, nil
}
