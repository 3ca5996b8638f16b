// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
)

// Chain picks from releases of one stack those that lead from the version have to
// the newest of them, in order. A release that may follow have is a chain by
// itself; one that may not is reached by the stepping stones that it names, each
// the newest at hand of its range.
func Chain(have string, all []Bundle) ([]Bundle, error) {
	if len(all) == 0 {
		return nil, Problem("update.no-bundles", nil).WithCode(ExitUsage)
	}
	sorted, err := ascending(all)
	if err != nil {
		return nil, err
	}
	at, err := parseVersion(have)
	if err != nil {
		return nil, err
	}
	target := sorted[len(sorted)-1]
	if ok, err := follows(target, at); err != nil || ok {
		return []Bundle{target}, err
	}
	var chain []Bundle
	for _, within := range target.Stack.Manifest.Upgrade.Steps {
		next, needed, err := stone(sorted, at, within)
		if err != nil {
			return nil, err
		}
		if !needed {
			continue
		}
		if next == nil {
			return nil, Problem("update.no-step", nil, "stack", target.Stack.Manifest.Name, "have", have, "version", target.Stack.Manifest.Version, "range", within)
		}
		chain = append(chain, *next)
		if at, err = parseVersion(next.Stack.Manifest.Version); err != nil {
			return nil, err
		}
	}
	return append(chain, target), nil
}

// stone finds the newest release of a range that is newer than what runs. None is
// needed when what runs is in the range, or past all that is at hand of it.
func stone(sorted []Bundle, at *semver.Version, within string) (next *Bundle, needed bool, err error) {
	want, err := constraint(within)
	if err != nil || want.Check(at) {
		return nil, false, err
	}
	needed = true
	for _, b := range slices.Backward(sorted) {
		v, err := parseVersion(b.Stack.Manifest.Version)
		if err != nil {
			return nil, false, err
		}
		if !want.Check(v) {
			continue
		}
		if v.GreaterThan(at) {
			return &b, true, nil
		}
		needed = false
	}
	return nil, needed, nil
}

func ascending(all []Bundle) ([]Bundle, error) {
	versions := make(map[string]*semver.Version, len(all))
	for _, b := range all {
		v, err := parseVersion(b.Stack.Manifest.Version)
		if err != nil {
			return nil, err
		}
		versions[b.Digest] = v
	}
	return slices.SortedFunc(slices.Values(all), func(a, b Bundle) int { return versions[a.Digest].Compare(versions[b.Digest]) }), nil
}

// follows tells whether a release may come right after a version.
func follows(b Bundle, have *semver.Version) (bool, error) {
	from := b.Stack.Manifest.Upgrade.From
	if from == "" {
		return true, nil
	}
	want, err := constraint(from)
	return err == nil && want.Check(have), err
}

func parseVersion(text string) (*semver.Version, error) {
	v, err := semver.NewVersion(text)
	if err != nil {
		return nil, fmt.Errorf("version %q of a release: %w", text, err)
	}
	return v, nil
}

func constraint(text string) (*semver.Constraints, error) {
	c, err := semver.NewConstraint(text)
	if err != nil {
		return nil, fmt.Errorf("versions %q that a release may follow: %w", text, err)
	}
	return c, nil
}
