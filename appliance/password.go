// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rochdale/appliance/host"
	"rochdale/stacks"
)

// server is the database that the release has in a PostgreSQL of its own; there
// is at most one.
func (c *crew) server() (name string, db stacks.Database, ok bool) {
	for name, db := range c.bundle.Stack.Manifest.Databases {
		if db.Engine == stacks.Postgres {
			return name, db, true
		}
	}
	return "", stacks.Database{}, false
}

// postgres tells whether the release keeps rows in a PostgreSQL of its own.
func (c *crew) postgres() bool {
	_, _, ok := c.server()
	return ok
}

// password makes the password of the stack's PostgreSQL, once. Its containers
// read it as /run/secrets/database-password.
func (d *Daemon) password(c *crew) error {
	path := d.Paths.DatabasePassword(c.release.Stack)
	_, err := os.Lstat(path)
	switch {
	case err == nil || !c.postgres():
		return nil
	case !errors.Is(err, fs.ErrNotExist): // a new one would lock everybody out
		return fmt.Errorf("look for the password of the database: %w", err)
	}
	if err := d.files.MkdirAll(filepath.Dir(path), rootOnly()); err != nil {
		return err
	}
	uid := c.bundle.Stack.Manifest.User
	return d.files.Write(path, []byte(rand.Text()), host.Attr{Mode: 0o400, UID: uid, GID: uid})
}
