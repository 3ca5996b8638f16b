// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"rochdale/appliance"
	"rochdale/backups"
	"rochdale/backups/kit"
	"rochdale/installer"
)

// kitBounds keep a kit to what it takes to reach the backups: whoever knows for whom a
// kit is sealed can make one. What goes further is refused, unless whoever recovers has
// put what it was for in place by hand: then the kit's own is left out.
type kitBounds struct {
	here func(path string) bool // a file is on this machine
	left []appliance.LeftOut
}

// legacyOf turns the content of a kit into files of this machine.
func (b *kitBounds) legacyOf(k kit.Kit, recipient string) (installer.Legacy, error) {
	l := installer.Legacy{Issued: k.Issued, Serial: k.Serial, Epoch: k.Epoch, Recipient: recipient, Configuration: k.Configuration, Files: map[string][]byte{}}
	for _, r := range k.Repositories {
		if r.Name == appliance.BoxRepository {
			continue // it was on the machine that is lost
		}
		if err := b.addRepository(r, l.Files); err != nil {
			return installer.Legacy{}, err
		}
	}
	config, err := l.Config()
	if err != nil {
		return l, nil //nolint:nilerr // whoever goes by it is told
	}
	config, left := config.WithoutPrograms()
	if len(left) == 0 {
		return l, nil // in the operator's own words
	}
	for _, one := range left {
		if err := b.beyondOption(one.Repository, one.Option); err != nil {
			return installer.Legacy{}, err
		}
	}
	document, err := config.Encode()
	l.Configuration = string(document)
	return l, err
}

// addRepository adds the files of one repository.
func (b *kitBounds) addRepository(r kit.Repository, files map[string][]byte) error {
	if err := wellFormed(r); err != nil {
		return err
	}
	for _, o := range r.Options {
		if !appliance.KitOption(o) {
			if err := b.beyondOption(r.Name, o); err != nil {
				return err
			}
		}
	}
	at := appliance.Paths{}
	files[at.RepositoryPassword(r.Name)] = []byte(r.Password + "\n")
	files[at.Proven(r.Name)] = []byte(appliance.PasswordPrint([]byte(r.Password))) // it is the kit's
	if err := b.addEnv(r, files); err != nil {
		return err
	}
	return b.addFiles(r, files)
}

// addFiles adds keys and what else ssh reads.
func (b *kitBounds) addFiles(r kit.Repository, files map[string][]byte) error {
	named := loginFiles(r.Options)
	for _, path := range sortedKeys(r.Files) {
		line := kitLine(path, r.Files[path])
		switch {
		case path == appliance.SSHConfig && b.here(path):
			b.leave(r.Name, path) // written by hand, as it was asked for, maybe
		case filepath.Clean(path) == path && appliance.KitPlace(path) && line == "":
			files[path] = r.Files[path]
		case filepath.Clean(path) == path && appliance.KitPlace(path):
			if err := b.beyond(appliance.LeftOut{Repository: r.Name, Option: path + " (" + appliance.SSHKeyword(line) + ")"}, path+" ("+line+")", path); err != nil {
				return err
			}
		case slices.Contains(named, path) && b.here(path):
			b.leave(r.Name, path)
		default:
			return appliance.Problem("cli.recover.kit-foreign", nil, "repository", r.Name, "path", path)
		}
	}
	return nil
}

// addEnv adds the credentials of the other side.
func (b *kitBounds) addEnv(r kit.Repository, files map[string][]byte) error {
	path := appliance.Paths{}.RepositoryEnv(r.Name)
	if len(r.Env) > 0 && b.here(path) {
		b.leave(r.Name, path)
		return nil
	}
	var env strings.Builder
	for _, name := range sortedKeys(r.Env) {
		if !appliance.KitVariable(name) {
			return b.beyond(appliance.LeftOut{Repository: r.Name, Option: appliance.ShortName(name)}, name, path) // with it the others: that file has them all
		}
		fmt.Fprintf(&env, "%s=%s\n", name, envValue(r.Env[name]))
	}
	if env.Len() > 0 {
		files[path] = []byte(env.String())
	}
	return nil
}

func (b *kitBounds) beyondOption(repository, option string) error {
	return b.beyond(appliance.LeftOut{Repository: repository, Option: appliance.OptionName(option)}, option, appliance.SSHConfig)
}

// beyond refuses what a kit may not bring, unless the file in which somebody writes it
// instead is there. Whoever has to judge it sees all of it; where it is only left out its
// name will do, for it may hold a password.
func (b *kitBounds) beyond(left appliance.LeftOut, whole, path string) error {
	if !b.here(path) {
		return appliance.Problem("cli.recover.kit-runs", nil, "repository", left.Repository, "what", whole, "path", path)
	}
	b.left = append(b.left, left)
	return nil
}

func (b *kitBounds) leave(repository, what string) {
	b.left = append(b.left, appliance.LeftOut{Repository: repository, Option: what})
}

// wellFormed wants a repository of a kit to be of the form that the configuration has
// them in, and credentials of one line each.
func wellFormed(r kit.Repository) error {
	one := backups.Repository{Name: r.Name, URL: r.URL, PasswordFile: "/p", Options: r.Options}
	if err := one.Validate(); err != nil {
		return err
	}
	for _, name := range sortedKeys(r.Env) {
		if !variableForm.MatchString(name) || strings.ContainsFunc(r.Env[name], unicode.IsControl) {
			return appliance.Problem("cli.recover.kit-value", nil, "repository", r.Name, "name", name)
		}
	}
	if strings.ContainsAny(r.Password, "\r\n\x00") {
		return appliance.Problem("cli.recover.kit-value", nil, "repository", r.Name, "name", "password")
	}
	return nil
}

var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
