// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"errors"
	"slices"
	"strings"

	"rochdale/appliance"
)

func finding(s appliance.Severity, id string, pairs ...any) appliance.Finding {
	return appliance.Finding{Message: appliance.Message{ID: id, Args: appliance.Args(pairs...)}, Severity: s}
}

// optionFinding turns what the configuration says of a wrong value into a finding.
func optionFinding(err error) appliance.Finding {
	var e *appliance.Error
	if errors.As(err, &e) {
		return appliance.Finding{Message: e.Message, Severity: appliance.Failure}
	}
	return finding(appliance.Failure, "install.option", "detail", err)
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// Blocking are the findings that stop an installation.
func Blocking(found []appliance.Finding) []appliance.Finding {
	var stop []appliance.Finding
	for _, f := range found {
		if f.Severity == appliance.Failure {
			stop = append(stop, f)
		}
	}
	return stop
}

// typed tells whether the finding is about what the person typed: those end with
// [appliance.ExitUsage], all others with [appliance.ExitCheckFailed].
func typed(f appliance.Finding) bool {
	return slices.ContainsFunc([]string{
		"install.stack-", "install.domain-form", "install.domain-missing", "install.option", "config.",
	}, func(prefix string) bool { return strings.HasPrefix(f.ID, prefix) })
}

// ExitCode is what an installation that was stopped by these findings ends with.
func ExitCode(found []appliance.Finding) int {
	stop := Blocking(found)
	if len(stop) == 0 {
		return appliance.ExitOK
	}
	for _, f := range stop {
		if !typed(f) {
			return appliance.ExitCheckFailed
		}
	}
	return appliance.ExitUsage
}
