// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"errors"
	"io"
	"io/fs"
	"path"
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
	n := 0
	for line := range strings.Lines(text) {
		if n++; withoutTransaction(line) {
			d.at(n, "migration-transaction")
		}
	}
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

// withoutTransaction reads a line as generously as the tool that runs it, and a
// bit more so.
func withoutTransaction(line string) bool {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "--") || !strings.Contains(line, "+goose") {
		return false
	}
	said := strings.Replace(strings.ReplaceAll(line, "--", ""), "+goose", "", 1)
	return strings.EqualFold(strings.Join(strings.Fields(said), " "), "no transaction")
}
