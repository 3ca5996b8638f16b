// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/backups"
	"rochdale/backups/kit"
	"rochdale/backups/shelf"
)

// kits make recovery kits of what lies on this machine.
type kits struct {
	paths   appliance.Paths
	shelves shelves
	files   host.Files
	restic  string // its version
}

var _ appliance.Kits = kits{}

func (a *app) newKits() kits {
	k := kits{paths: a.paths, shelves: newShelves(), files: host.NewFiles()}
	if program, err := backups.Restic(); err == nil { // without it there is no backup either
		k.restic = program.Version
	}
	return k
}

// Make implements [appliance.Kits].
func (k kits) Make(ctx context.Context, o appliance.KitOrder, than string) (appliance.SealedKit, error) {
	content := kit.Kit{
		Schema: kit.Schema, Box: kit.Box{Name: o.Name, Domain: o.Domain}, Serial: o.Serial, Issued: o.Issued, Epoch: o.Epoch,
		Restic: k.restic, Configuration: o.Configuration,
	}
	var without, byHand []string
	var why error
	for _, r := range o.Repositories {
		one, left, err := k.repository(ctx, r, o.IDs[r.Name])
		if ctx.Err() != nil {
			return appliance.SealedKit{}, context.Cause(ctx)
		}
		if err != nil {
			without, why = append(without, r.Name), errors.Join(why, err)
			continue
		}
		content.Repositories, byHand = append(content.Repositories, one), append(byHand, left...)
	}
	if len(content.Repositories) == 0 {
		return appliance.SealedKit{}, why
	}
	made := appliance.SealedKit{Serial: o.Serial, Issued: o.Issued, Without: without, ByHand: byHand}
	return k.seal(made, content, sealing{o.Recipient, than})
}

// sealing is for whom a kit is sealed, and the fingerprint of the one before.
type sealing struct{ recipient, than string }

func (k kits) seal(made appliance.SealedKit, content kit.Kit, s sealing) (appliance.SealedKit, error) {
	mark, err := content.Fingerprint()
	if err != nil {
		return made, err
	}
	// Other pages are another kit, although it says the same.
	made.Fingerprint = fmt.Sprintf("%x-%s", kit.KeyID(s.recipient), mark)
	if made.Fingerprint == s.than {
		return made, nil
	}
	if made.File, err = kit.Seal(content, s.recipient); err != nil {
		return made, err
	}
	made.Label, err = json.Marshal(kit.LabelOf(content, s.recipient, made.File))
	return made, err
}

// repository gathers all that it takes to open one. What no kit may bring is named, and
// not shown: it is to be written by hand, and may hold a password.
func (k kits) repository(ctx context.Context, r backups.Repository, id string) (one kit.Repository, byHand []string, err error) {
	password, err := smallFile(r.PasswordFile, appliance.MaxCredentials)
	if err != nil {
		return one, nil, err
	}
	place, err := placeOf(r)
	if err != nil {
		return one, nil, err
	}
	one = kit.Repository{
		Name: r.Name, ID: id, URL: r.URL, Password: strings.TrimRight(string(password), "\r\n"), Env: map[string]string{}, Files: map[string][]byte{},
	}
	beyond := func(what string) { byHand = append(byHand, r.Name+": "+what) }
	for _, o := range r.Options {
		if !appliance.KitOption(o) {
			beyond(appliance.OptionName(o))
			continue
		}
		one.Options = append(one.Options, o)
	}
	for _, name := range sortedKeys(place.Env) {
		if !appliance.KitVariable(name) {
			beyond(appliance.ShortName(name))
			continue
		}
		one.Env[name] = place.Env[name]
	}
	if err := k.addLogin(r, one.Files, beyond); err != nil {
		return one, nil, err
	}
	one.Own, err = k.own(ctx, r)
	return one, byHand, err
}

// own reads the repository's own files. Those of a repository that can not be
// reached, or is damaged, are as they were when they were last whole: they hardly
// ever change, and the password encrypts them.
func (k kits) own(ctx context.Context, r backups.Repository) (shelf.RepositoryFiles, error) {
	var kept shelf.RepositoryFiles
	at := filepath.Join(k.paths.KitFolder(), r.Name+".json")
	s, err := k.shelves.open(r)
	if err == nil {
		kept, err = shelf.ReadRepository(ctx, s)
	}
	if err != nil {
		old, oldErr := smallFile(at, shelf.MaxFile)
		if oldErr == nil && json.Unmarshal(old, &kept) == nil && kept.Check() == nil {
			return kept, nil
		}
		return kept, err
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return kept, err
	}
	if old, oldErr := os.ReadFile(at); oldErr == nil && slices.Equal(old, data) {
		return kept, nil
	}
	private := host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}
	if err := k.files.MkdirAll(k.paths.KitFolder(), private); err != nil {
		return kept, err
	}
	private.Mode = 0o600
	return kept, k.files.Write(at, data, private)
}

// addLogin adds the files with which ssh reaches the other side: those that the
// options name, and root's own in place of those that they do not.
func (k kits) addLogin(r backups.Repository, files map[string][]byte, beyond func(what string)) error {
	if r.Kind() != backups.SFTP {
		return nil
	}
	for _, path := range loginFiles(r.Options) {
		here := filepath.Join("/", k.paths.Root, path)
		if !appliance.KitPlace(path) {
			if info, err := os.Stat(here); err == nil && info.Mode().IsRegular() {
				beyond(path)
			}
			continue
		}
		content, err := smallFile(here, appliance.MaxCredentials)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if line := kitLine(path, content); line != "" {
			beyond(path + " (" + appliance.SSHKeyword(line) + ")")
			continue
		}
		files[path] = content
	}
	return nil
}

// kitLine gives the line for which no kit may bring a file.
func kitLine(path string, content []byte) string {
	if path != appliance.SSHConfig {
		return ""
	}
	return appliance.KitSSHConfig(content)
}

// loginFiles are the files that ssh may read for a repository.
func loginFiles(options []string) []string {
	var keys, hosts, config []string
	for _, o := range options {
		name, line, _ := strings.Cut(o, "=")
		if name = strings.TrimSpace(name); name != "sftp.args" && name != "sftp.command" {
			continue
		}
		words := strings.Fields(line)
		for i, w := range words {
			w = strings.Trim(w, `"'`)
			value := ""
			if i+1 < len(words) {
				value = strings.Trim(words[i+1], `"'`)
			}
			switch {
			case w == "-i":
				keys = append(keys, value)
			case w == "-F":
				config = append(config, value)
			case strings.HasPrefix(w, "IdentityFile="):
				keys = append(keys, w[len("IdentityFile="):])
			case strings.HasPrefix(w, "UserKnownHostsFile="):
				hosts = append(hosts, w[len("UserKnownHostsFile="):])
			}
		}
	}
	if len(keys) == 0 {
		keys = []string{appliance.SSHHome + "id_ed25519", appliance.SSHHome + "id_ecdsa", appliance.SSHHome + "id_rsa"}
	}
	if len(hosts) == 0 {
		hosts = []string{appliance.SSHHome + "known_hosts"}
	}
	if len(config) == 0 {
		config = []string{appliance.SSHConfig}
	}
	return slices.DeleteFunc(slices.Concat(keys, hosts, config), func(path string) bool { return !filepath.IsAbs(path) })
}

// Publish implements [appliance.Kits].
func (k kits) Publish(ctx context.Context, r backups.Repository, made appliance.SealedKit) error {
	s, err := k.shelves.open(r)
	if err != nil {
		return err
	}
	var label kit.Label
	if err := json.Unmarshal(made.Label, &label); err != nil {
		return fmt.Errorf("read the label of the kit: %w", err)
	}
	return kit.Publish(ctx, s, made.File, label)
}

// Published implements [appliance.Kits].
func (k kits) Published(ctx context.Context, r backups.Repository, made appliance.SealedKit) (bool, error) {
	s, err := k.shelves.open(r)
	if err != nil {
		return false, err
	}
	label, whole, err := kit.Published(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return whole && label.Of(made.File), err
}

// Pages implements [appliance.Kits].
func (kits) Pages(checks json.RawMessage) ([]appliance.PageState, error) {
	c, err := kit.DecodeChecks(checks)
	if err != nil {
		return nil, err
	}
	var all []appliance.PageState
	for i, p := range c.Pages {
		one := appliance.PageState{Page: i + 1, Left: c.Left(i + 1), Proven: p.Proven}
		if one.Left > 0 {
			one.Next = p.Used + 1
		}
		all = append(all, one)
	}
	return all, nil
}

// Answer implements [appliance.Kits].
func (kits) Answer(checks json.RawMessage, a appliance.PageAnswer, at time.Time) (json.RawMessage, error) {
	c, err := kit.DecodeChecks(checks)
	if err != nil {
		return nil, err
	}
	if err := c.Verify(a.Page, a.Code, at); err != nil {
		return nil, err
	}
	return c.Encode()
}
