// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Box is what a machine tells the containers of a stack. compose.yaml asks for
// a value by naming its variable in the value of an environment variable, such
// as COOP_BASE_URL: ${ROCHDALE_URL}. There are no other variables, and nothing
// of the machine's own environment is ever read.
type Box struct {
	URL      string // ROCHDALE_URL: where people reach the stack, without a slash at the end
	Domain   string // ROCHDALE_DOMAIN: the host in it
	Edge     string // ROCHDALE_EDGE: the address that the edge's connections come from
	Language string // ROCHDALE_LANGUAGE: en, es or fr
	Name     string // ROCHDALE_NAME: what the co-op calls itself
	// Database is ROCHDALE_DATABASE: the name of the stack's database in its own
	// PostgreSQL. Every generation of the data is a database, so the name changes
	// with an update. A stack without a PostgreSQL has none.
	Database string
}

// databaseVariable is for services beside a PostgreSQL only.
const databaseVariable = "ROCHDALE_DATABASE"

func (b Box) values() map[string]string {
	return map[string]string{
		"ROCHDALE_URL":      b.URL,
		"ROCHDALE_DOMAIN":   b.Domain,
		"ROCHDALE_EDGE":     b.Edge,
		"ROCHDALE_LANGUAGE": b.Language,
		"ROCHDALE_NAME":     b.Name,
		databaseVariable:    b.Database,
	}
}

// Variables are the names that compose.yaml may use, in order.
func Variables() []string { return slices.Sorted(maps.Keys(Box{}.values())) }

// Environment is the environment of the container on this box. A variable that
// is used and has no value is an error: the program would start half set up.
func (s Service) Environment(b Box) (map[string]string, error) {
	env := make(map[string]string, len(s.Env))
	for name, template := range s.Env {
		value, err := expand(template, b.values())
		if err != nil {
			return nil, fmt.Errorf("environment variable %s of service %s: %w", name, s.Name, err)
		}
		env[name] = value
	}
	return env, nil
}

// expand fills in ${NAME} and turns $$ into a dollar sign.
func expand(template string, values map[string]string) (string, error) {
	var missing []string
	out := variable().ReplaceAllStringFunc(template, func(match string) string {
		if match == "$$" {
			return "$"
		}
		name := strings.Trim(match, "${}")
		value, known := values[name]
		if !known || value == "" {
			missing = append(missing, match)
		}
		return value
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("no value for %s", strings.Join(missing, ", "))
	}
	return out, nil
}

// onlyKnown tells whether every dollar sign of a template has a meaning here.
func onlyKnown(template string) bool {
	_, err := expand(template, allKnown())
	return err == nil
}

func allKnown() map[string]string {
	values := Box{}.values()
	for name := range values {
		values[name] = "x"
	}
	return values
}

// variable finds every dollar sign, with what belongs to it. A dollar sign that
// is neither doubled nor followed by a name in braces is found alone.
func variable() *regexp.Regexp { return regexp.MustCompile(`\$\$|\$\{[^}]*\}|\$`) }
