// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/backups"
	"rochdale/backups/shelf"
)

// shelves keep small files beside repositories, reached as restic reaches them.
type shelves struct{ machine shelf.Machine }

var _ appliance.Shelf = shelves{}

func newShelves() shelves {
	return shelves{shelf.Machine{Disk: shelfDisk{host.NewFiles()}, Talker: sshTalker{host.Exec{}}}}
}

// Get implements [appliance.Shelf].
func (s shelves) Get(ctx context.Context, r backups.Repository, name string) ([]byte, error) {
	one, err := s.open(r)
	if err != nil {
		return nil, err
	}
	return one.Get(ctx, name)
}

// Put implements [appliance.Shelf].
func (s shelves) Put(ctx context.Context, r backups.Repository, name string, content []byte) error {
	one, err := s.open(r)
	if err != nil {
		return err
	}
	return one.Put(ctx, name, content)
}

func (s shelves) open(r backups.Repository) (shelf.Shelf, error) {
	p, err := placeOf(r)
	if err != nil {
		return nil, err
	}
	return shelf.Open(p, s.machine)
}

// placeOf reads the credentials of a repository's other side.
func placeOf(r backups.Repository) (shelf.Place, error) {
	p := shelf.Place{URL: r.URL, Options: r.Options, Env: map[string]string{}}
	if r.EnvFile == "" {
		return p, nil
	}
	data, err := smallFile(r.EnvFile, appliance.MaxCredentials)
	if err != nil {
		return p, fmt.Errorf("read the credentials of repository %s: %w", r.Name, err)
	}
	p.Env = variables(data)
	return p, nil
}

// variables reads lines NAME=VALUE as systemd reads an environment file: comments
// and empty lines are left out, and quotes around a value.
func variables(data []byte) map[string]string {
	env := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		env[strings.TrimSpace(name)] = unquoted(strings.TrimSpace(value))
	}
	return env
}

// needsEscape are what a backslash takes the meaning from between double quotes.
const needsEscape = "\"\\`$"

// plainSigns mean nothing to whoever reads such a file.
const plainSigns = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=._:@%,-"

// unquoted reads a value as systemd does: quotes end where they began, and others may
// follow; a backslash outside takes the meaning from any sign.
func unquoted(s string) string {
	var b strings.Builder
	quote, begun := byte(0), false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			b.WriteByte(c)
		case c == '\\' && i+1 < len(s):
			i++
			if quote != 0 && !strings.Contains(needsEscape, s[i:i+1]) {
				b.WriteByte(c)
			}
			b.WriteByte(s[i])
			begun = begun || quote == 0
		case quote == 0 && !begun && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && !begun && (c == ' ' || c == '\t'):
		default:
			b.WriteByte(c)
			begun = begun || quote == 0
		}
	}
	return b.String()
}

// envValue writes a value so that systemd, and unquoted, read it as it is.
func envValue(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(plainSigns, c) }) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if strings.Contains(needsEscape, s[i:i+1]) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return `"` + b.String() + `"`
}

// smallFile reads a plain file up to a bound.
func smallFile(path string, most int64) ([]byte, error) {
	f, err := appliance.OpenConfig(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return data, err
}

// shelfDisk writes durably into folders of this machine.
type shelfDisk struct{ files host.Files }

// Stream implements [shelf.Disk].
func (d shelfDisk) Stream(path string, content io.Reader, mode fs.FileMode) error {
	return d.files.Stream(path, content, mode)
}

// Mkdir implements [shelf.Disk].
func (d shelfDisk) Mkdir(path string, mode fs.FileMode) error {
	return d.files.MkdirAll(path, host.Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()})
}

// sshTalker runs the program that speaks SFTP.
type sshTalker struct{ run host.Runner }

// Talk implements [shelf.Talker].
func (t sshTalker) Talk(ctx context.Context, argv []string, in io.Reader, out io.Writer) error {
	if len(argv) == 0 {
		return errors.New("there is no program to run")
	}
	_, err := t.run.Run(ctx, host.Command{Name: argv[0], Args: argv[1:], Stdin: in, Stdout: out})
	return err
}
