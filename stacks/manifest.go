// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"
)

// schema is the version of both files that this program reads.
const schema = 1

// Engines of a database.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// manifestReader reads stack.yaml.
type manifestReader struct {
	document
	m Manifest
}

func (r *manifestReader) read(fsys fs.FS) Manifest { return r.decode(r.open(fsys)) }

func (r *manifestReader) decode(n *yaml.Node) Manifest {
	if n == nil || !r.known(n) {
		return Manifest{}
	}
	r.m.Schema = schema
	r.mapping(n, "", fields{
		"schema":      func(*yaml.Node, string) {},
		"name":        r.matching(isName, "name", &r.m.Name),
		"version":     r.version,
		"title":       r.title,
		"web":         r.web,
		"probes":      r.probes,
		"user":        r.user,
		"databases":   r.databases,
		"migrations":  r.migrations,
		"data":        r.data,
		"facts":       r.facts,
		"settings":    r.file(&r.m.Settings),
		"first_admin": r.texts(20, &r.m.FirstAdmin),
		"member_link": r.texts(20, &r.m.MemberLink),
		"needs":       r.needs,
		"upgrade":     r.upgrade,
	}, "schema", "name", "version", "title", "web", "user", "needs")
	return r.m
}

// known reads the schema first: of a newer file nothing else can be judged.
func (r *manifestReader) known(n *yaml.Node) bool {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value != "schema" {
			continue
		}
		var v int64
		before := len(r.problems)
		r.integer(1, 1<<31, &v)(value, "schema")
		if v > schema {
			r.at(value.Line, "schema", "schema", strconv.FormatInt(v, 10))
		}
		return len(r.problems) == before
	}
	return true
}

// isName tells whether s may name a stack, a service, a volume or a database.
func isName(s string) bool {
	return len(s) <= 31 && regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`).MatchString(s)
}

func (r *manifestReader) version(n *yaml.Node, path string) {
	s, ok := r.text(n, path, 60)
	if !ok {
		return
	}
	if _, err := semver.StrictNewVersion(s); err != nil {
		r.at(n.Line, "version", "value", s)
		return
	}
	r.m.Version = s
}

func (r *manifestReader) title(n *yaml.Node, path string) { r.m.Title = r.words(n, path) }

// words reads a text in several languages, English among them.
func (d *document) words(n *yaml.Node, path string) map[string]string {
	texts := map[string]string{}
	language := regexp.MustCompile(`^[a-z]{2}$`)
	seen := d.entries(n, path, func(key, value *yaml.Node, at string) {
		if !language.MatchString(key.Value) {
			d.at(key.Line, "language", "language", key.Value)
		}
		if s, ok := d.text(value, at, 200); ok {
			texts[key.Value] = s
		}
	})
	if seen != nil && !seen["en"] {
		d.at(n.Line, "missing", "key", path+".en")
	}
	return texts
}

func (r *manifestReader) web(n *yaml.Node, path string) {
	var port int64
	r.mapping(n, path, fields{
		"service": r.matching(isName, "name", &r.m.Web.Service),
		"port":    r.integer(1, 65535, &port),
		"health":  r.matching(isURLPath, "url-path", &r.m.Web.Health),
	}, "service", "port", "health")
	r.m.Web.Port = int(port)
}

// isURLPath tells whether s is a path on the web without a question in it.
func isURLPath(s string) bool { return regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`).MatchString(s) }

// maxProbes is how many probes a release may have: visitors wait for them.
const maxProbes = 20

func (r *manifestReader) probes(n *yaml.Node, path string) {
	r.list(n, path, maxProbes, func(n *yaml.Node, path string) {
		p, status := ReleaseProbe{}, int64(200)
		r.mapping(n, path, fields{
			"path":   r.matching(isURLPath, "url-path", &p.Path),
			"status": r.integer(200, 599, &status),
			"contains": func(n *yaml.Node, path string) {
				p.Contains, _ = r.text(n, path, 200)
			},
		}, "path")
		p.Status = int(status)
		r.m.Probes = append(r.m.Probes, p)
	})
}

// user leaves out the system's users and the numbers that mean nobody.
func (r *manifestReader) user(n *yaml.Node, path string) {
	var uid int64
	r.integer(1000, 65533, &uid)(n, path)
	r.m.User = int(uid)
}

func (r *manifestReader) data(n *yaml.Node, path string) {
	r.m.Data = map[string]Volume{}
	r.entries(n, path, func(key, value *yaml.Node, at string) {
		var v Volume
		r.mapping(value, at, fields{"immutable": r.boolean(&v.Immutable)})
		r.m.Data[key.Value] = v
	})
}

func (r *manifestReader) needs(n *yaml.Node, path string) {
	r.mapping(n, path, fields{
		"memory": r.size(16<<20, 1<<40, &r.m.Needs.Memory),
		"disk":   r.size(1<<20, 1<<50, &r.m.Needs.Disk),
	}, "memory", "disk")
}

func (r *manifestReader) upgrade(n *yaml.Node, path string) {
	r.mapping(n, path, fields{
		"from": func(n *yaml.Node, path string) {
			r.m.Upgrade.From = r.versionRange(n, path)
		},
		"steps": func(n *yaml.Node, path string) {
			r.list(n, path, 50, func(n *yaml.Node, path string) {
				r.m.Upgrade.Steps = append(r.m.Upgrade.Steps, r.versionRange(n, path))
			})
		},
	})
}

func (r *manifestReader) versionRange(n *yaml.Node, path string) string {
	s, ok := r.text(n, path, 100)
	if !ok {
		return ""
	}
	if _, err := semver.NewConstraint(s); err != nil {
		r.at(n.Line, "version-range", "value", s)
	}
	return s
}

// file reads the name of something inside the stack.
func (r *manifestReader) file(into *string) visit {
	return func(n *yaml.Node, at string) {
		s, ok := r.text(n, at, 200)
		if !ok {
			return
		}
		if !fs.ValidPath(s) || s == "." || strings.ContainsRune(s, '\\') || path.Clean(s) != s {
			r.at(n.Line, "path", "key", at, "value", s)
			return
		}
		*into = s
	}
}

// size reads bytes written with a unit, between two bounds.
func (d *document) size(least, most int64, into *int64) visit {
	return func(n *yaml.Node, path string) {
		bytes, ok := parseSize(n.Value)
		if n.Kind != yaml.ScalarNode || !ok {
			d.at(n.Line, "size", "key", path, "value", n.Value)
			return
		}
		if bytes < least || bytes > most {
			d.at(n.Line, "range", "key", path, "value", n.Value, "min", sizeText(least), "max", sizeText(most))
			return
		}
		*into = bytes
	}
}

// parseSize reads 512K, 128M and 1G, in units of 1024.
func parseSize(s string) (int64, bool) {
	m := regexp.MustCompile(`^([0-9]{1,9})([KMG])$`).FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]uint{"K": 10, "M": 20, "G": 30}[m[2]]
	return n << shift, err == nil
}
