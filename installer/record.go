// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// recordSchema is the version of installed.json that this binary writes.
const recordSchema = 1

// Record is installed.json: what the machine was like before us, so that an
// uninstall undoes no more than an install did. It is durable before the first
// change and outlives an uninstall that keeps the data.
type Record struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"` // that was installed last
	Program string `json:"program"` // folder of its binary under versions/
	// Stack and Domain are what was asked for.
	Stack  string `json:"stack"`
	Domain string `json:"domain"`
	// Bundle is the file that the stack came from; empty: the binary.
	Bundle string    `json:"bundle,omitempty"`
	Began  time.Time `json:"began"`
	// Config is rochdale.yaml as it was asked for, and ACMERoot the file that was
	// named with it: an installation that is interrupted before it has written
	// them goes on with what was typed first.
	Config   string `json:"config"`
	ACMERoot string `json:"acme_root,omitempty"`
	// Finished is zero until every step was done.
	Finished time.Time `json:"finished,omitzero"`
	// Recovered is the SHA-256, in hex, of the sealed recovery kit that the machine was
	// made from; empty: it was installed.
	Recovered string `json:"recovered_from,omitempty"`
	// Removed is when an uninstall took everything but the data.
	Removed time.Time `json:"removed,omitzero"`

	// Before lists the packages that were installed when we came.
	Before []string `json:"packages_before"`
	// HeldBefore lists the packages that were held when we came.
	HeldBefore []string `json:"held_before"`
	// Masked lists the units that we need and that were masked when we came.
	Masked []string `json:"masked_before,omitempty"`
	// DockerConfig is daemon.json as it was, or nil when there was none.
	DockerConfig *string `json:"docker_config_before"`
	// Swap is true when the swap file is ours.
	Swap bool `json:"swap"`
	// EngineThere: a container engine was there before us.
	EngineThere bool `json:"engine_before"`
	// Applied keeps, by unit, a digest of the files that it was last started
	// with, so that an interrupted run restarts what has to be.
	Applied map[string]string `json:"applied"`
}

// RecordPath is where the record lies.
func RecordPath(p appliance.Paths) string { return filepath.Join(p.Var(), "installed.json") }

// maxRecord bounds what is read back, in bytes.
const maxRecord = 4 << 20

// ReadRecord gives the record of an earlier installation, or nil if there is none.
func ReadRecord(p appliance.Paths) (*Record, error) {
	data, err := os.ReadFile(RecordPath(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what an earlier installation did: %w", err)
	}
	return parseRecord(data)
}

func parseRecord(data []byte) (*Record, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("installed.json is larger than %d bytes", maxRecord)
	}
	r := &Record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read installed.json: %w", err)
	}
	if r.Schema < 1 || r.Schema > recordSchema {
		return nil, fmt.Errorf("installed.json has schema %d, this program knows up to %d", r.Schema, recordSchema)
	}
	return r, nil
}

func (r *Record) write(p appliance.Paths, files host.Files) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write installed.json: %w", err)
	}
	return files.Write(RecordPath(p), append(data, '\n'), host.Attr{Mode: 0o600})
}

// amend changes the record on the disk.
func amend(p appliance.Paths, files host.Files, change func(*Record)) error {
	r, err := ReadRecord(p)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("change installed.json: %w", fs.ErrNotExist)
	}
	change(r)
	return r.write(p, files)
}
