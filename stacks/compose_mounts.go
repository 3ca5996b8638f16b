// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mounts reads the volumes of a service, in the short and the long form.
func (r *composeReader) mounts(n *yaml.Node, at string) {
	targets := map[string]bool{}
	r.list(n, at, maxVolumes, func(n *yaml.Node, at string) {
		source, target := r.mount(n, at)
		if target == "" {
			return
		}
		r.uses[at] = source
		r.target(n, target, at, targets)
	})
}

// mount gives the volume and the target, or reports what is wrong.
func (r *composeReader) mount(n *yaml.Node, at string) (source, target string) {
	if n.Kind == yaml.MappingNode {
		return r.longMount(n, at)
	}
	s, ok := r.text(n, at, 300)
	if !ok {
		return "", ""
	}
	parts := strings.Split(s, ":")
	switch {
	case r.foreign(n, parts[0], s):
		return "", ""
	case len(parts) == 2 && isName(parts[0]), len(parts) == 3 && isName(parts[0]) && (parts[2] == "ro" || parts[2] == "rw"):
		return parts[0], parts[1]
	}
	r.at(n.Line, "volume-form", "key", at, "value", s)
	return "", ""
}

func (r *composeReader) longMount(n *yaml.Node, at string) (source, target string) {
	before := len(r.problems)
	var kind string
	var readOnly bool
	r.allowed(n, at, fields{
		"type":      r.mountType(&kind),
		"source":    func(n *yaml.Node, path string) { source, _ = r.text(n, path, 300) },
		"target":    func(n *yaml.Node, path string) { target, _ = r.text(n, path, 300) },
		"read_only": r.boolean(&readOnly),
	}, map[string]string{"bind": "bind", "volume": "volume-options", "tmpfs": "volume-options", "image": "volume-options"})
	if len(r.problems) > before || r.foreign(n, source, source) {
		return "", ""
	}
	if kind != "volume" || !isName(source) || target == "" {
		r.at(n.Line, "volume-form", "key", at, "value", source+":"+target)
		return "", ""
	}
	return source, target
}

func (r *composeReader) mountType(into *string) visit {
	return func(n *yaml.Node, path string) {
		if n.Value == "bind" {
			r.at(n.Line, "bind", "key", path, "value", "type: bind")
			return
		}
		r.choice(into, "volume")(n, path)
	}
}

// foreign refuses a source that is a path of the machine; Docker's socket gets
// a problem of its own.
func (r *composeReader) foreign(n *yaml.Node, source, whole string) bool {
	lower := strings.ToLower(whole)
	for _, socket := range []string{"docker.sock", "containerd.sock", "podman.sock", "/docker.pid"} {
		if strings.Contains(lower, socket) {
			r.at(n.Line, "docker-socket", "value", whole)
			return true
		}
	}
	if source != "" && strings.ContainsAny(source[:1], `/.~$\`) || strings.ContainsAny(source, `/\`) {
		r.at(n.Line, "bind", "value", whole)
		return true
	}
	return false
}

// target refuses places where a mount would hide the system of the container,
// and two mounts in one place.
func (r *composeReader) target(n *yaml.Node, target, at string, taken map[string]bool) {
	ok := path.IsAbs(target) && path.Clean(target) == target && target != "/" && !taken[target] &&
		!strings.ContainsAny(target, `$:,\`) && plainText(target, 200)
	for _, system := range []string{"/proc", "/sys", "/dev", "/etc", "/run"} {
		if target == system || strings.HasPrefix(target, system+"/") {
			ok = false
		}
	}
	if !ok {
		r.at(n.Line, "target", "key", at, "value", target)
	}
	taken[target] = true
}

// allTmpfs reads folders in memory: one, or a list.
func (r *composeReader) allTmpfs(n *yaml.Node, at string) {
	targets := map[string]bool{}
	each := func(n *yaml.Node, at string) {
		s, ok := r.text(n, at, 300)
		if !ok {
			return
		}
		t, ok := parseTmpfs(s)
		if !ok {
			r.at(n.Line, "tmpfs", "key", at, "value", s, "max", sizeText(maxTmpfs))
			return
		}
		r.tmpfsTarget(n, t.Target, at, targets)
	}
	if n.Kind == yaml.ScalarNode {
		each(n, at)
		return
	}
	r.list(n, at, maxVolumes, each)
}

// tmpfsTarget allows /run and /dev/shm, where programs expect memory.
func (r *composeReader) tmpfsTarget(n *yaml.Node, target, at string, taken map[string]bool) {
	expected := target == "/dev/shm" || target == "/run" || strings.HasPrefix(target, "/run/")
	if expected && path.Clean(target) == target && !taken[target] && plainText(target, 200) && !strings.Contains(target, "$") {
		taken[target] = true
		return
	}
	r.target(n, target, at, taken)
}

// parseTmpfs reads /path and /path:size=16M.
func parseTmpfs(s string) (Tmpfs, bool) {
	target, options, has := strings.Cut(s, ":")
	t := Tmpfs{Target: target, Size: defaultTmpfs}
	if !has {
		return t, true
	}
	size, ok := parseSize(strings.ToUpper(strings.TrimPrefix(options, "size=")))
	t.Size = size
	return t, ok && strings.HasPrefix(options, "size=") && size > 0 && size <= maxTmpfs
}
