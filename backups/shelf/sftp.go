// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/pkg/sftp"
)

// remote is the shelf of a repository that is reached over SSH. Each call has a
// connection of its own: they are rare, and none is left to go stale.
type remote struct {
	spot
	argv   []string // the program that speaks SFTP on its input and output
	dir    string   // absolute, or from the folder in which a login starts
	talker Talker
}

var _ Shelf = remote{}

func openSFTP(rest string, at spot, p Place, talker Talker) (Shelf, error) {
	login, err := parseLogin(rest)
	if err != nil {
		return nil, at.badAddress(err)
	}
	r := remote{spot: at, dir: login.dir, talker: talker}
	if command := words(p.option("sftp.command")); len(command) > 0 {
		r.argv = command
	} else {
		r.argv = login.ssh(words(p.option("sftp.args")))
	}
	return r, nil
}

// login is who goes where.
type login struct{ user, host, port, dir string }

// parseLogin reads both forms: //user@host:port/folder (with // before a folder
// that is named from the root) and user@host:folder.
func parseLogin(s string) (login, error) {
	var l login
	if strings.HasPrefix(s, "//") {
		u, err := url.Parse("sftp:" + s)
		if err != nil {
			return l, err
		}
		l = login{user: u.User.Username(), host: u.Hostname(), port: u.Port(), dir: strings.TrimPrefix(u.Path, "/")}
	} else {
		host, dir, found := strings.Cut(s, ":")
		if !found {
			return l, errors.New("after the host there is : and the folder")
		}
		l.host, l.dir = host, dir
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			l.user, l.host = host[:i], host[i+1:]
		}
	}
	return l, l.check()
}

// check keeps words out that ssh would take for an option.
func (l login) check() error {
	if l.host == "" || l.dir == "" {
		return errors.New("it names no host or no folder")
	}
	if strings.HasPrefix(l.host, "-") || strings.HasPrefix(l.user, "-") {
		return errors.New("a user or a host does not begin with -")
	}
	return nil
}

// ssh is the command line that restic would use, with an end to waiting.
func (l login) ssh(more []string) []string {
	argv := []string{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15"}
	if l.port != "" {
		argv = append(argv, "-p", l.port)
	}
	if l.user != "" {
		argv = append(argv, "-l", l.user)
	}
	argv = append(argv, more...)
	return append(argv, l.host, "-s", "sftp")
}

// Put implements [Shelf]. The repository's own folder must be there.
func (r remote) Put(ctx context.Context, name string, content []byte) error {
	if err := r.fits(name, content); err != nil {
		return err
	}
	return r.talk(ctx, func(c *sftp.Client) error {
		if _, err := c.Stat(r.dir); err != nil {
			return fmt.Errorf("the folder of the repository: %w", err)
		}
		to := path.Join(r.dir, name)
		if parent := path.Dir(to); parent != path.Clean(r.dir) {
			if err := c.MkdirAll(parent); err != nil {
				return err
			}
		}
		return replace(c, to, content)
	})
}

// replace writes beside the file, to the server's disk where it can, and
// renames.
func replace(c *sftp.Client, to string, content []byte) error {
	dir, base := path.Split(to)
	temp := dir + "." + base + ".rochdale-tmp"
	if err := pour(c, temp, content); err != nil {
		return err
	}
	if _, ok := c.HasExtension("posix-rename@openssh.com"); ok {
		return c.PosixRename(temp, to)
	}
	// Servers without it rename to new names alone.
	if err := c.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.Rename(temp, to)
}

func pour(c *sftp.Client, path string, content []byte) (err error) {
	f, err := c.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if _, ok := c.HasExtension("fsync@openssh.com"); ok {
		return f.Sync()
	}
	return nil
}

// Get implements [Shelf].
func (r remote) Get(ctx context.Context, name string) (content []byte, err error) {
	if err := r.name(name); err != nil {
		return nil, err
	}
	err = r.talk(ctx, func(c *sftp.Client) error {
		content, err = r.fetch(c, name)
		return err
	})
	return content, err
}

func (r remote) fetch(c *sftp.Client, name string) ([]byte, error) {
	at := path.Join(r.dir, name)
	info, err := c.Stat(at)
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := c.Stat(r.dir); gone != nil {
			return nil, fmt.Errorf("the folder of the repository: %w", gone)
		}
		return nil, r.missing(name)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file", name)
	}
	f, err := c.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return r.read(name, f)
}

// List implements [Shelf].
func (r remote) List(ctx context.Context, dir string) (names []string, err error) {
	err = r.talk(ctx, func(c *sftp.Client) error {
		if _, err := c.Stat(r.dir); err != nil {
			return fmt.Errorf("the folder of the repository: %w", err)
		}
		infos, err := c.ReadDirContext(ctx, path.Join(r.dir, dir))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, i := range infos {
			if i.Mode().IsRegular() && len(names) < maxFiles {
				names = append(names, i.Name())
			}
		}
		return err
	})
	return plainNames(names), err
}
