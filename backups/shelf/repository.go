// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"rochdale/backups"
)

// The names of a repository's own small files.
const (
	configName = "config"
	keysFolder = "keys"
)

const (
	// maxKeys bounds the keys of a repository. A box makes one.
	maxKeys = 16
	// maxKey and maxConfig bound their sizes, in bytes: restic's have a few hundred. Who
	// can write there could otherwise take the box's memory, or make its kit too large.
	maxKey    = 2 << 10
	maxConfig = 4 << 10
	// leastConfig is what an encrypted file has at least: 16 bytes each of
	// initialisation vector and of authentication code.
	leastConfig = 33
)

// RepositoryFiles are the few small files without which nobody opens a
// repository, whatever password he knows. They are encrypted with the password.
type RepositoryFiles struct {
	Config []byte            `json:"config"`
	Keys   map[string][]byte `json:"keys"` // by file name, which is the content's SHA-256
}

// ReadRepository reads the files of the repository on the shelf. It gives all
// or, when config or every key is lost or damaged, a problem: what is damaged
// must not take the place of a good copy in a kit.
func ReadRepository(ctx context.Context, s Shelf) (RepositoryFiles, error) {
	config, err := s.Get(ctx, configName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (len(config) < leastConfig || len(config) > maxConfig) {
		return RepositoryFiles{}, broken(configName, err)
	}
	if err != nil {
		return RepositoryFiles{}, err
	}
	keys, err := readKeys(ctx, s)
	if err == nil && len(keys) == 0 {
		err = broken(keysFolder, nil)
	}
	return RepositoryFiles{Config: config, Keys: keys}, err
}

// readKeys gives the keys that are whole.
func readKeys(ctx context.Context, s Shelf) (map[string][]byte, error) {
	names, err := s.List(ctx, keysFolder)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return len(name) != hex.EncodedLen(sha256.Size) })
	if len(names) > maxKeys {
		// Nobody can tell which of them is the box's own.
		return nil, broken(keysFolder, fmt.Errorf("it has %d keys", len(names)))
	}
	keys := map[string][]byte{}
	for _, name := range names {
		content, err := s.Get(ctx, keysFolder+"/"+name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed while we read
		}
		if err != nil {
			return nil, err
		}
		if len(content) <= maxKey && sum(content) == name {
			keys[name] = content
		}
	}
	return keys, nil
}

func broken(file string, cause error) error {
	if cause == nil {
		cause = errors.New("it is damaged or not there")
	}
	return &backups.Problem{ID: "kit.repository-broken", Args: map[string]string{"file": file}, Err: errors.New(cause.Error())}
}

// Check tells whether these are files that ReadRepository gave.
func (f RepositoryFiles) Check() error {
	if len(f.Config) < leastConfig || len(f.Config) > MaxFile {
		return fmt.Errorf("the config has %d bytes", len(f.Config))
	}
	if len(f.Keys) == 0 || len(f.Keys) > maxKeys {
		return fmt.Errorf("there are %d keys", len(f.Keys))
	}
	for name, content := range f.Keys {
		if sum(content) != name {
			return fmt.Errorf("key %q has other content than its name says", name)
		}
	}
	return nil
}

// PutBack brings lost and damaged files back and gives their names. Keys that
// are whole stay, also those that a newer password made. A config that is there
// is replaced only when it is cut off or the caller says that it is damaged:
// only restic with the password can tell.
func (f RepositoryFiles) PutBack(ctx context.Context, s Shelf, configDamaged bool) (restored []string, err error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(f.Keys)) {
		done, err := restore(ctx, s, file{keysFolder + "/" + name, f.Keys[name], true})
		restored = append(restored, done...)
		if err != nil {
			return restored, err
		}
	}
	// The config comes last: restic takes a folder with one for a repository.
	done, err := restore(ctx, s, file{configName, f.Config, configDamaged})
	return append(restored, done...), err
}

type file struct {
	name    string
	content []byte
	exact   bool // whatever differs is damaged
}

func restore(ctx context.Context, s Shelf, f file) ([]string, error) {
	there, err := s.Get(ctx, f.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case bytes.Equal(there, f.content) || !f.exact && len(there) >= leastConfig:
		return nil, nil
	}
	if err := s.Put(ctx, f.name, f.content); err != nil {
		return nil, err
	}
	return []string{f.name}, nil
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}
