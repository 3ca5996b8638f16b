// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// IsImageName tells whether s may name an image in images.lock.
func IsImageName(s string) bool { return isName(s) }

func (r *composeReader) image(n *yaml.Node, path string) {
	r.matching(isName, "image", new(string))(n, path)
}

// command reads a list of arguments; there is no shell that would split text.
func (r *composeReader) command(n *yaml.Node, path string) {
	var args []string
	r.texts(50, &args)(n, path)
	for i, arg := range args {
		r.noVariable(n, path+"["+strconv.Itoa(i)+"]", arg)
	}
}

func (r *composeReader) noVariable(n *yaml.Node, path, value string) {
	if strings.Contains(value, "$") {
		r.at(n.Line, "variable-place", "key", path)
	}
}

func (r *composeReader) environment(n *yaml.Node, path string) {
	form := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	seen := r.entries(n, path, func(key, value *yaml.Node, at string) {
		switch {
		case !form.MatchString(key.Value):
			r.at(key.Line, "variable-name", "key", at)
		case value.ShortTag() == "!!null":
			r.at(key.Line, "no-value", "key", at)
		case value.Kind != yaml.ScalarNode:
			r.wrong(value, at, "text")
		case value.ShortTag() != "!!str":
			r.at(value.Line, "quotes", "key", at, "value", value.Value)
		case strings.ContainsRune(value.Value, 0) || len(value.Value) > 4096:
			r.at(value.Line, "text", "key", at, "max", "4096")
		case !onlyKnown(value.Value):
			r.at(value.Line, "variable", "value", value.Value, "known", known(Variables()))
		}
	})
	r.most(n, path, len(seen), maxEnv)
}

func (r *composeReader) readOnly(n *yaml.Node, path string) {
	before := len(r.problems)
	var yes bool
	r.boolean(&yes)(n, path)
	if !yes && len(r.problems) == before {
		r.at(n.Line, "read-only", "key", path)
	}
}

func (r *composeReader) memory(n *yaml.Node, path string) {
	r.size(minMemory, maxMemory, new(int64))(n, path)
}

func (r *composeReader) decimal(least, most float64) visit {
	return func(n *yaml.Node, path string) {
		var v float64
		tag := n.ShortTag()
		if n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" || n.Decode(&v) != nil {
			r.wrong(n, path, "number")
			return
		}
		if !(v >= least && v <= most) {
			r.at(n.Line, "range", "key", path, "value", n.Value, "min", short(least), "max", short(most))
		}
	}
}

func short(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// duration reads times as Go and Compose both write them.
func (r *composeReader) duration(least, most time.Duration) visit {
	return func(n *yaml.Node, path string) {
		v, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" || err != nil {
			r.at(n.Line, "duration", "key", path, "value", n.Value)
			return
		}
		if v < least || v > most {
			r.at(n.Line, "range", "key", path, "value", n.Value, "min", least.String(), "max", most.String())
		}
	}
}

// health reads a command without a shell. Docker takes several forms; this one
// works in every image.
func (r *composeReader) health(n *yaml.Node, path string) {
	r.allowed(n, path, fields{
		"test":         r.healthTest,
		"interval":     r.duration(time.Second, 5*time.Minute),
		"timeout":      r.duration(time.Second, time.Minute),
		"start_period": r.duration(0, 10*time.Minute),
		"retries":      r.integer(1, 20, new(int64)),
	}, map[string]string{"disable": "supervision", "start_interval": "supervision"})
	if n.Kind == yaml.MappingNode && r.lines[join(path, "test")] == 0 {
		r.at(n.Line, "missing", "key", join(path, "test"))
	}
}

func (r *composeReader) healthTest(n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode || len(n.Content) < 2 || n.Content[0].Value != "CMD" {
		r.at(n.Line, "health-form", "key", path)
		return
	}
	r.command(n, path)
}

// stopSignals are those that programs take as a wish to end. SIGKILL is none: it comes
// by itself after the grace.
func stopSignals() []string {
	return []string{"SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH"}
}

// dependsOn reads both forms. Every condition means the same here: the other
// service is healthy first.
func (r *composeReader) dependsOn(n *yaml.Node, path string) {
	service := strings.TrimSuffix(strings.TrimPrefix(path, "services."), ".depends_on")
	if n.Kind == yaml.SequenceNode {
		var names []string
		r.texts(maxServices, &names)(n, path)
		r.waits[service] = names
		return
	}
	r.entries(n, path, func(key, value *yaml.Node, at string) {
		r.waits[service] = append(r.waits[service], key.Value)
		var condition string
		r.allowed(value, at, fields{
			"condition": r.choice(&condition, "service_healthy", "service_started"),
		}, map[string]string{"restart": "supervision", "required": "supervision"})
	})
}
