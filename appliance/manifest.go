// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rochdale/backups"
)

// manifestOf reads what a snapshot holds, by way of a folder that it leaves gone.
func (d *Daemon) manifestOf(ctx context.Context, r backups.Repository, snapshot, by string) (m BackupManifest, err error) {
	if err := errors.Join(os.RemoveAll(by), d.files.MkdirAll(by, rootOnly())); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(by)) }()
	// The databases lie beside it, and are not needed.
	only := filepath.Join(d.Paths.Stages(), "*", manifestName)
	if _, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: snapshot, Target: by, Include: []string{only}}); err != nil {
		return m, readable(err)
	}
	return readManifest(by, d.Paths.Stages())
}

// maxManifest bounds what is read of a manifest, in bytes.
const maxManifest = 4 << 20

func readManifest(into, stages string) (BackupManifest, error) {
	m, _, err := findManifest(into, stages)
	return m, err
}

// findManifest reads what a snapshot holds, and tells in which stage it was.
func findManifest(into, stages string) (m BackupManifest, stage string, err error) {
	found, err := filepath.Glob(filepath.Join(into, stages, "*", manifestName))
	if err != nil || len(found) != 1 {
		return m, "", Problem("restore.no-manifest", err, "count", len(found))
	}
	info, err := os.Lstat(found[0])
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxManifest {
		return m, "", Problem("restore.no-manifest", err, "count", 0)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		return m, "", err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, "", Problem("restore.no-manifest", err, "count", 1)
	}
	if m.Schema > manifestSchema {
		return m, "", Problem("restore.newer", nil, "schema", m.Schema, "known", manifestSchema)
	}
	return m, filepath.Dir(found[0]), m.sane()
}

// maxGeneration bounds what is believed of another machine: no stack has so many, and
// there must be numbers above it.
const maxGeneration = 1 << 40

// sane wants what nobody but a damaged or a forged snapshot says otherwise.
func (m BackupManifest) sane() error {
	if m.Kind != BackupDump && m.Kind != BackupFull {
		return Problem("restore.no-manifest", fmt.Errorf("it is of the kind %q", m.Kind), "count", 1)
	}
	for name, one := range m.Stacks {
		if g := one.Release.Generation; g < 0 || g > maxGeneration {
			return Problem("restore.no-manifest", fmt.Errorf("stack %s is at generation %d", name, g), "count", 1)
		}
	}
	return nil
}

// A snapshot says itself where its parts were. Whoever has the password of its
// repository can write one that says anything, and root moves what it names.

// plain wants all parts of the stack to have been somewhere on a machine.
func (b StackBackup) plain(stack string) error {
	for _, path := range append(slices.Collect(maps.Values(b.Volumes)), b.Bundle, b.Secrets, b.Database) {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			return Problem("restore.outside", nil, "stack", stack, "path", path)
		}
	}
	return nil
}

// inside is the folder that a part of a snapshot was laid out in. One that is not
// below restored, by its name or by a link on the way, is refused.
func inside(restored, path string) (_ string, err error) {
	root, err := os.OpenRoot(restored)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	rel := strings.TrimPrefix(path, "/")
	info, err := root.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err != nil || !info.IsDir() {
		return "", Problem("restore.outside", err, "stack", "-", "path", path)
	}
	return filepath.Join(restored, rel), nil
}
