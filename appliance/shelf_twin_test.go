// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"rochdale/appliance"
	"rochdale/backups"
)

// shelfTwin keeps files beside repositories, in memory.
type shelfTwin struct {
	mu    sync.Mutex
	files map[string][]byte // "repository/name"
	down  map[string]error  // by repository
	puts  int
}

var _ appliance.Shelf = (*shelfTwin)(nil)

func newShelfTwin() *shelfTwin {
	return &shelfTwin{files: map[string][]byte{}, down: map[string]error{}}
}

func (s *shelfTwin) Get(ctx context.Context, r backups.Repository, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.down[r.Name]); err != nil {
		return nil, err
	}
	content, ok := s.files[r.Name+"/"+name]
	if !ok {
		return nil, &backups.Problem{ID: "kit.shelf-missing", Err: fs.ErrNotExist}
	}
	return bytes.Clone(content), nil
}

func (s *shelfTwin) Put(ctx context.Context, r backups.Repository, name string, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.down[r.Name]); err != nil {
		return err
	}
	s.files[r.Name+"/"+name] = bytes.Clone(content)
	s.puts++
	return nil
}

func (s *shelfTwin) set(name, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = []byte(content)
}

func (s *shelfTwin) get(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.files[name])
}

// fail makes a place answer with this, or answer again with nil.
func (s *shelfTwin) fail(repository string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[repository] = err
}

// forget is the loss of a place with all that lies there.
func (s *shelfTwin) forget(repository string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.files, func(name string, _ []byte) bool { return strings.HasPrefix(name, repository+"/") })
}

func (s *shelfTwin) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.files))
}
