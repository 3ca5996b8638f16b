// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (r *manifestReader) databases(n *yaml.Node, path string) {
	r.m.Databases = map[string]Database{}
	r.entries(n, path, func(key, value *yaml.Node, at string) {
		r.named(key, at)
		r.m.Databases[key.Value] = r.database(value, at)
	})
}

// named checks a key that is a name which the stack itself gives.
func (d *document) named(key *yaml.Node, at string) {
	if !isName(key.Value) {
		d.at(key.Line, "name", "key", at, "value", key.Value)
	}
}

func (r *manifestReader) database(n *yaml.Node, path string) (db Database) {
	before := len(r.problems)
	identifier := regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)
	r.mapping(n, path, fields{
		"engine":  r.choice(&db.Engine, SQLite, Postgres),
		"volume":  r.matching(isName, "name", &db.Volume),
		"path":    r.literal(r.file(&db.Path)),
		"service": r.matching(isName, "name", &db.Service),
		"name":    r.matching(identifier.MatchString, "identifier", &db.Name),
	}, "engine")
	if len(r.problems) == before {
		r.fits(n, path, db)
	}
	return db
}

// literal refuses signs that stand for others in a pattern: what a backup leaves out of
// the plain files is named by patterns.
func (r *manifestReader) literal(read visit) visit {
	return func(n *yaml.Node, path string) {
		if strings.ContainsAny(n.Value, "*?[\\") {
			r.at(n.Line, "path-pattern", "key", path, "value", n.Value)
			return
		}
		read(n, path)
	}
}

// fits checks that a database has what its engine needs, and nothing else.
func (r *manifestReader) fits(n *yaml.Node, path string, db Database) {
	values := map[string]string{"volume": db.Volume, "path": db.Path, "service": db.Service, "name": db.Name}
	mine, others := []string{"volume", "path"}, []string{"service", "name"}
	if db.Engine == Postgres {
		mine, others = others, mine
	}
	for _, key := range mine {
		if values[key] == "" {
			r.at(n.Line, "missing", "key", join(path, key))
		}
	}
	for _, key := range others {
		if values[key] != "" {
			r.on(join(path, key), "not-for-engine", "engine", db.Engine)
		}
	}
}

func (d *document) choice(into *string, choices ...string) visit {
	return func(n *yaml.Node, path string) {
		s, ok := d.text(n, path, 100)
		if !ok {
			return
		}
		for _, c := range choices {
			if s == c {
				*into = s
				return
			}
		}
		d.at(n.Line, "choice", "key", path, "value", s, "choices", known(choices))
	}
}

func (r *manifestReader) migrations(n *yaml.Node, path string) {
	m := &r.m.Migrations
	before := len(r.problems)
	r.mapping(n, path, fields{
		"database": r.matching(isName, "name", &m.Database),
		"dir":      r.file(&m.Dir),
		"command":  r.texts(50, &m.Command),
		"service":  r.matching(isName, "name", &m.Service),
	}, "database")
	switch {
	case len(r.problems) > before:
	case (m.Dir == "") == (len(m.Command) == 0):
		r.on(path, "one-way", "one", "dir", "other", "command")
	case m.Service != "" && m.Dir != "":
		r.on(join(path, "service"), "only-beside", "other", join(path, "command"))
	}
}

func (r *manifestReader) facts(n *yaml.Node, path string) {
	r.m.Facts = map[string]Fact{}
	r.entries(n, path, func(key, value *yaml.Node, at string) {
		r.named(key, at)
		r.m.Facts[key.Value] = r.fact(value, at)
	})
}

func (r *manifestReader) fact(n *yaml.Node, path string) (f Fact) {
	r.mapping(n, path, fields{
		"database": r.matching(isName, "name", &f.Database),
		"sql":      r.query(&f.SQL),
		"must": func(n *yaml.Node, path string) {
			f.Must = new(int64)
			r.integer(-1<<62, 1<<62, f.Must)(n, path)
		},
		"check": func(n *yaml.Node, path string) {
			r.list(n, path, 2, func(n *yaml.Node, path string) {
				var s string
				r.choice(&s, "update", "drill")(n, path)
				f.Check = append(f.Check, s)
			})
		},
	}, "database", "sql", "check")
	return f
}

// query keeps facts to one reading statement. It is a help for authors: what a
// fact may touch is decided by the read-only child that runs it.
func (r *manifestReader) query(into *string) visit {
	return func(n *yaml.Node, path string) {
		s, ok := r.text(n, path, 2000)
		if !ok {
			return
		}
		if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(s)), "select ") || strings.Contains(s, ";") {
			r.at(n.Line, "sql", "key", path)
			return
		}
		*into = s
	}
}
