// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// BoxRepository is the name of the repository on the box itself. It saves from
// mistakes and bad updates, and not from the loss of the machine.
const BoxRepository = "box"

// maxRepositories bounds them; each costs a run every quarter of an hour.
const maxRepositories = 8

func (b BackupsConfig) validate() error {
	if len(b.Repositories) > maxRepositories {
		return invalidValue("backups.repositories", strconv.Itoa(len(b.Repositories)), strconv.Itoa(maxRepositories))
	}
	for _, name := range slices.Sorted(maps.Keys(b.Repositories)) {
		key, one := "backups.repositories."+name, b.Repositories[name]
		if name == BoxRepository {
			return Problem("config.repository-name", nil, "key", key, "name", name).WithCode(ExitUsage)
		}
		if !StackName(name) {
			return invalidValue(key, name, "offsite")
		}
		// The files are those of every repository, so only the address is judged.
		r := backups.Repository{Name: name, URL: one.URL, PasswordFile: "/p", Options: one.Options}
		if err := r.Validate(); err != nil {
			return invalidValue(key+".url", one.URL, "sftp:rides@backup.example:/srv/rides")
		}
		if r.Kind() == backups.Local && !writable(one.URL) {
			return Problem("config.repository-place", nil, "key", key+".url", "path", one.URL).WithCode(ExitUsage)
		}
	}
	return nil
}

// writable tells whether the daemon may write below a folder: where disks are
// mounted, by custom. The daemon's unit says the same.
func writable(path string) bool {
	return slices.ContainsFunc([]string{"/mnt/", "/media/", "/srv/"}, func(dir string) bool { return strings.HasPrefix(path, dir) })
}

// repositories are all that the box writes to, its own first.
func (d *Daemon) repositories() []backups.Repository {
	config, _ := d.config.get()
	return Repositories(d.Paths, config)
}

// Repositories are all that a box with this configuration writes to, its own
// first.
func Repositories(p Paths, c Config) []backups.Repository {
	all := []backups.Repository{{Name: BoxRepository, URL: p.BoxRepository(), PasswordFile: p.RepositoryPassword(BoxRepository)}}
	for _, name := range slices.Sorted(maps.Keys(c.Backups.Repositories)) {
		entry := c.Backups.Repositories[name]
		r := backups.Repository{Name: name, URL: entry.URL, Options: entry.Options, PasswordFile: p.RepositoryPassword(name), AppendOnly: entry.AppendOnly}
		if env := p.RepositoryEnv(name); isFile(env) {
			r.EnvFile = env
		}
		all = append(all, r)
	}
	return all
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// repository finds one by its name.
func (d *Daemon) repository(name string) (backups.Repository, error) {
	all := d.repositories()
	i := slices.IndexFunc(all, func(r backups.Repository) bool { return r.Name == name })
	if i < 0 {
		return backups.Repository{}, Problem("backup.no-repository", nil, "repository", name).WithCode(ExitUsage)
	}
	return all[i], nil
}

// makeRepository makes a repository unless it is there, and gives its id.
func (d *Daemon) makeRepository(ctx context.Context, r backups.Repository) (string, error) {
	if r.Kind() == backups.Local {
		if err := d.files.MkdirAll(r.URL, host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}); err != nil {
			return "", err
		}
	}
	return d.Vault.Init(ctx, r)
}
