// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"rochdale/backups"
	"rochdale/backups/shelf"
)

// Schema is the version of the kit's content that this program writes.
const Schema = 1

// Name is what the kit is called beside each repository.
const Name = "rochdale-kit.age"

// Bounds of a kit. A real one has a few thousand bytes.
const (
	maxContent      = 512 << 10 // bytes of JSON
	maxRepositories = 16
	maxEntries      = 64       // options, variables or files of one repository
	maxWord         = 4 << 10  // bytes of one of them, or of a name
	maxText         = 64 << 10 // bytes of a file or of the configuration
)

// Kit is the content of a recovery kit. All of it is secret.
type Kit struct {
	Schema int `json:"schema"`
	Box    Box `json:"box"`
	// Serial grows with every kit that a box issues; Issued is for people.
	Serial int64     `json:"serial"`
	Issued time.Time `json:"issued"`
	// Epoch tells the owners of the repositories apart: a machine that is
	// recovered from this kit takes the next one, and an older one stops writing.
	Epoch         int64        `json:"epoch"`
	Restic        string       `json:"restic"`        // version that wrote the repositories
	Configuration string       `json:"configuration"` // rochdale.yaml
	Repositories  []Repository `json:"repositories"`
}

// Box says whose kit it is.
type Box struct {
	Name   string `json:"name"`
	Domain string `json:"domain"`
}

// Repository is all that it takes to open one repository.
type Repository struct {
	Name     string            `json:"name"`
	ID       string            `json:"id"` // restic's, as it was when the kit was issued
	URL      string            `json:"url"`
	Password string            `json:"password"`
	Env      map[string]string `json:"env"` // credentials of the place
	Options  []string          `json:"options"`
	// Files are those that the options name: an SSH key and the known hosts, by
	// path on the machine.
	Files map[string][]byte     `json:"files"`
	Own   shelf.RepositoryFiles `json:"own"` // its config and keys
}

// Place is where the repository lies.
func (r Repository) Place() shelf.Place {
	return shelf.Place{URL: r.URL, Options: r.Options, Env: r.Env}
}

// Encode gives the kit's JSON, or what is wrong with the kit.
func (k Kit) Encode() ([]byte, error) {
	k.Schema = Schema
	if err := k.check(); err != nil {
		return nil, notMade(err)
	}
	data, err := json.Marshal(k)
	if err == nil && len(data) > maxContent {
		err = fmt.Errorf("the kit has %d bytes, at most %d fit", len(data), maxContent)
	}
	if err != nil {
		return nil, notMade(err)
	}
	return data, nil
}

// Decode reads a kit's JSON strictly.
func Decode(data []byte) (Kit, error) {
	if len(data) > maxContent {
		return Kit{}, damaged(fmt.Errorf("it has %d bytes", len(data)))
	}
	var peek struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &peek); err != nil {
		return Kit{}, damaged(err)
	}
	if peek.Schema > Schema {
		args := map[string]string{"schema": strconv.Itoa(peek.Schema), "known": strconv.Itoa(Schema)}
		return Kit{}, &backups.Problem{ID: "kit.newer", Args: args, Err: errors.New("a newer program wrote it")}
	}
	var k Kit
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return Kit{}, damaged(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Kit{}, damaged(errors.New("something follows the document"))
	}
	if err := k.check(); err != nil {
		return Kit{}, damaged(err)
	}
	return k, nil
}

// Fingerprint is the same for two kits that differ only in serial number and
// time: a box that remembers it issues no kit without need. It tells nothing
// about what is in the kit.
func (k Kit) Fingerprint() (string, error) {
	k.Serial, k.Issued = 1, time.Unix(1, 0).UTC()
	data, err := k.Encode()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// check holds a kit against its bounds.
func (k Kit) check() error {
	switch {
	case k.Schema != Schema:
		return fmt.Errorf("its schema is %d", k.Schema)
	case k.Serial < 1 || k.Epoch < 1 || k.Issued.IsZero():
		return errors.New("it has no serial number, owner epoch or time")
	case k.Box.Name == "" || max(len(k.Box.Name), len(k.Box.Domain), len(k.Restic)) > maxWord:
		return errors.New("the name of the box is missing or too long")
	case len(k.Configuration) > maxText:
		return fmt.Errorf("the configuration has %d bytes", len(k.Configuration))
	case len(k.Repositories) == 0 || len(k.Repositories) > maxRepositories:
		return fmt.Errorf("it has %d repositories", len(k.Repositories))
	}
	names := map[string]bool{}
	for _, r := range k.Repositories {
		if names[r.Name] {
			return fmt.Errorf("repository %q is there twice", r.Name)
		}
		names[r.Name] = true
		if err := r.check(); err != nil {
			return fmt.Errorf("repository %q: %w", r.Name, err)
		}
	}
	return nil
}

func (r Repository) check() error {
	if r.Name == "" || r.URL == "" || r.Password == "" {
		return errors.New("name, address or password is missing")
	}
	if max(len(r.Name), len(r.URL), len(r.Password), len(r.ID)) > maxWord {
		return errors.New("name, address, password or id is too long")
	}
	if max(len(r.Env), len(r.Options), len(r.Files)) > maxEntries {
		return fmt.Errorf("more than %d options, variables or files", maxEntries)
	}
	for name, value := range r.Env {
		if len(name)+len(value) > maxWord {
			return fmt.Errorf("variable %.40q is too long", name)
		}
	}
	for _, o := range r.Options {
		if len(o) > maxWord {
			return fmt.Errorf("option %.40q is too long", o)
		}
	}
	for name, content := range r.Files {
		if len(name) > maxWord || len(content) > maxText {
			return fmt.Errorf("file %.40q is too long", name)
		}
	}
	return r.Own.Check()
}

// damaged is a kit that can not be used. The cause names places, never values.
func damaged(cause error) error { return &backups.Problem{ID: "kit.damaged", Err: cause} }

// notMade is a kit that can not be issued.
func notMade(cause error) error { return &backups.Problem{ID: "kit.not-made", Err: cause} }
