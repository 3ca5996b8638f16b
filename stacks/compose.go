// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of a stack's containers.
const (
	maxServices = 20
	maxVolumes  = 20
	maxEnv      = 100
	maxTmpfs    = 256 << 20
	minMemory   = 16 << 20
	maxMemory   = 1 << 40
	maxGrace    = time.Minute
)

// What a service gets when compose.yaml does not say.
const (
	defaultMemory = 128 << 20
	defaultCPUs   = 1
	defaultPIDs   = 256
	defaultTmpfs  = 16 << 20
	defaultGrace  = 10 * time.Second
)

// composeReader walks compose.yaml and lets through only what is on its lists.
// Everything else is refused, whatever the Compose specification adds one day.
type composeReader struct {
	document
	services []string
	volumes  []string
	uses     map[string]string   // path of a mount -> volume
	waits    map[string][]string // service -> services it waits for
}

func (r *composeReader) read(fsys fs.FS) []Service {
	r.uses, r.waits = map[string]string{}, map[string][]string{}
	root := r.open(fsys)
	if root == nil {
		return nil
	}
	r.walk(root)
	r.references()
	if len(r.problems) > 0 {
		return nil
	}
	return r.load(root)
}

func (r *composeReader) walk(root *yaml.Node) {
	r.allowed(root, "", fields{"services": r.allServices, "volumes": r.allVolumes}, refusedAtTop())
	if len(r.services) == 0 && r.lines["services"] == 0 {
		r.at(root.Line, "no-services")
	}
	slices.Sort(r.services)
	slices.Sort(r.volumes)
}

// allowed walks a mapping whose other keys are refused, by a problem of their
// own where people are likely to write them.
func (r *composeReader) allowed(n *yaml.Node, path string, known fields, refused map[string]string) {
	r.entries(n, path, func(key, value *yaml.Node, at string) {
		if read, ok := known[key.Value]; ok {
			read(value, at)
			return
		}
		r.refuse(key, at, refused, slices.Sorted(maps.Keys(known)))
	})
}

func (r *composeReader) refuse(key *yaml.Node, at string, refused map[string]string, allowed []string) {
	if id := refused[key.Value]; id != "" {
		r.at(key.Line, id, "key", at)
		return
	}
	if nearest := nearest(key.Value, allowed); nearest != "" {
		r.at(key.Line, "maybe-key", "key", at, "nearest", nearest)
		return
	}
	r.at(key.Line, "not-allowed", "key", at, "known", known(allowed))
}

func (r *composeReader) allVolumes(n *yaml.Node, path string) {
	seen := r.entries(n, path, func(key, value *yaml.Node, at string) {
		r.named(key, at)
		r.volumes = append(r.volumes, key.Value)
		empty := value.ShortTag() == "!!null" || value.Kind == yaml.MappingNode && len(value.Content) == 0
		if !empty {
			r.at(key.Line, "volume-options", "key", at)
		}
	})
	r.most(n, path, len(seen), maxVolumes)
}

func (r *composeReader) allServices(n *yaml.Node, path string) {
	seen := r.entries(n, path, func(key, value *yaml.Node, at string) {
		r.named(key, at)
		r.services = append(r.services, key.Value)
		r.service(value, at)
	})
	if seen != nil && len(seen) == 0 {
		r.at(n.Line, "no-services")
	}
	r.most(n, path, len(seen), maxServices)
}

func (r *composeReader) most(n *yaml.Node, path string, count, most int) {
	if count > most {
		r.tooMany(n, path, count, most)
	}
}

func (r *composeReader) service(n *yaml.Node, path string) {
	r.allowed(n, path, fields{
		"image":             r.image,
		"entrypoint":        r.command,
		"command":           r.command,
		"environment":       r.environment,
		"volumes":           r.mounts,
		"tmpfs":             r.allTmpfs,
		"read_only":         r.readOnly,
		"mem_limit":         r.memory,
		"cpus":              r.decimal(0.01, 64),
		"pids_limit":        r.integer(16, 4096, new(int64)),
		"healthcheck":       r.health,
		"depends_on":        r.dependsOn,
		"stop_grace_period": r.duration(time.Second, maxGrace),
		"stop_signal":       r.choice(new(string), stopSignals()...),
	}, refusedInService())
	if n.Kind == yaml.MappingNode && r.lines[join(path, "image")] == 0 && r.lines[join(path, "build")] == 0 {
		r.at(n.Line, "missing", "key", join(path, "image"))
	}
}

// references checks what services say of each other and of volumes.
func (r *composeReader) references() {
	for path, volume := range r.uses {
		if !slices.Contains(r.volumes, volume) {
			r.on(path, "no-volume", "value", volume, "known", known(r.volumes))
		}
	}
	missing := false
	for _, service := range r.services {
		for _, other := range r.waits[service] {
			if !slices.Contains(r.services, other) {
				missing = true
				r.on("services."+service+".depends_on", "no-dependency", "value", other, "known", known(r.services))
			}
		}
	}
	if missing {
		return
	}
	if _, cycle := startOrder(r.services, r.waits); len(cycle) > 0 {
		r.on("services."+cycle[0]+".depends_on", "cycle", "cycle", strings.Join(cycle, " -> "))
	}
}

// startOrder puts every service behind those that it waits for, and by name
// where nothing waits; or it gives one circle of services that wait for each
// other, its first name again at the end.
func startOrder(services []string, waits map[string][]string) (order, cycle []string) {
	var trail []string
	var place func(name string) bool
	place = func(name string) bool {
		if slices.Contains(order, name) {
			return true
		}
		if i := slices.Index(trail, name); i >= 0 {
			cycle = append(slices.Clone(trail[i:]), name)
			return false
		}
		trail = append(trail, name)
		for _, other := range slices.Sorted(slices.Values(waits[name])) {
			if !place(other) {
				return false
			}
		}
		trail = trail[:len(trail)-1]
		order = append(order, name)
		return true
	}
	for _, name := range slices.Sorted(slices.Values(services)) {
		if !place(name) {
			return nil, cycle
		}
	}
	return order, nil
}
