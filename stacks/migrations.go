// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// maxMigration is the size of one migration, in bytes.
const maxMigration = 4 << 20

// migrations reads the migrations: each must be one that fails as a whole, or
// not at all, because an update relies on it.
func (c check) migrations(dir string, entries []fs.DirEntry) {
	for _, e := range entries {
		d := document{file: path.Join(dir, e.Name())}
		switch path.Ext(e.Name()) {
		case ".go":
			d.at(0, "migration-go")
		case ".sql":
			d.migration(c.fsys)
		}
		c.manifest.problems = append(c.manifest.problems, d.problems...)
	}
}

func (d *document) migration(fsys fs.FS) {
	text, err := readMigration(fsys, d.file)
	if err != nil {
		d.at(0, "file-unreadable", "file", d.file, "reason", err.Error())
		return
	}
	if len(text) > maxMigration {
		d.at(0, "file-size", "file", d.file, "limit", sizeText(maxMigration))
		return
	}
	n, inStatement, ends := 0, false, transactional()
	for line := range strings.Lines(text) {
		n++
		switch said := annotation(line); {
		case said == "no transaction":
			d.at(n, "migration-transaction")
		case said == "statementbegin":
			inStatement = true // of the body of a function or of a trigger
		case said == "statementend":
			inStatement = false
		case !inStatement && ends.MatchString(line):
			d.at(n, "migration-commit", "value", strings.TrimSpace(line))
		}
	}
}

// transactional finds statements that would end the transaction around them. A
// lone "end;" is not among them: a case expression may end so.
func transactional() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^\s*(((begin|commit|rollback|abort)(\s+(transaction|work|immediate|deferred|exclusive))?)|(start|end)\s+(transaction|work))\s*;`)
}

func readMigration(fsys fs.FS, name string) (_ string, err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := io.ReadAll(io.LimitReader(file, maxMigration+1))
	return string(text), err
}

// annotation gives what a line tells the tool that runs it, in small letters. It
// is as generous as that tool, and a bit more so.
func annotation(line string) string {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "--") || !strings.Contains(line, "+goose") {
		return ""
	}
	said := strings.Replace(strings.ReplaceAll(line, "--", ""), "+goose", "", 1)
	return strings.ToLower(strings.Join(strings.Fields(said), " "))
}
