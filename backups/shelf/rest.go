// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

// server is the shelf of a repository on restic's rest server. The server keeps
// the files of repositories and no others, so there is no place for a kit: only
// the repository's own config and keys are read and put back.
// The protocol: https://restic.readthedocs.io/en/stable/REST_backend.html
type server struct {
	spot
	base           *url.URL
	user, password string
	client         *http.Client
}

var _ Shelf = server{}

const listing = "application/vnd.x.restic.rest.v2"

func openRest(rest string, at spot, p Place) (Shelf, error) {
	u, err := webURL(rest)
	if err != nil {
		return nil, at.badAddress(err)
	}
	s := server{spot: at, user: p.Env["RESTIC_REST_USERNAME"], password: p.Env["RESTIC_REST_PASSWORD"]}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
	}
	u.User = nil
	s.base = u
	s.client = &http.Client{Transport: bounded{transport()}, CheckRedirect: stay}
	return s, nil
}

// stay follows no redirect: a password is meant for one server.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// own tells whether the file is one of a repository.
func (s server) own(name string) error {
	if err := s.name(name); err != nil {
		return err
	}
	if name != configName && !strings.HasPrefix(name, keysFolder+"/") {
		return s.problem("kit.shelf-none", fmt.Errorf("there is no place for %s", name))
	}
	return nil
}

// Put implements [Shelf]. Servers do not replace a file: one that has this
// content already is fine, another one is removed first.
func (s server) Put(ctx context.Context, name string, content []byte) error {
	if err := errors.Join(s.own(name), s.fits(name, content)); err != nil {
		return err
	}
	there, err := s.Get(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case bytes.Equal(there, content):
		return nil
	default:
		if _, err := s.ask(ctx, http.MethodDelete, name, nil); err != nil {
			return err
		}
	}
	_, err = s.ask(ctx, http.MethodPost, name, content)
	return err
}

// Get implements [Shelf].
func (s server) Get(ctx context.Context, name string) ([]byte, error) {
	if err := s.own(name); err != nil {
		return nil, err
	}
	return s.ask(ctx, http.MethodGet, name, nil)
}

// List implements [Shelf]. Of the repository's own folder the server tells only
// whether the config is there.
func (s server) List(ctx context.Context, dir string) ([]string, error) {
	if dir == "" {
		_, err := s.Get(ctx, configName)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return []string{configName}, err
	}
	answer, err := s.ask(ctx, http.MethodGet, dir+"/", nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(answer, &files); err != nil {
		return nil, s.failed(fmt.Errorf("the server's list: %w", err))
	}
	var names []string
	for _, f := range files[:min(len(files), maxFiles)] {
		names = append(names, f.Name)
	}
	return plainNames(names), nil
}

func (s server) ask(ctx context.Context, method, name string, content []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.base.JoinPath(name).String(), bytes.NewReader(content))
	if err != nil {
		return nil, s.failed(err)
	}
	r.Header.Set("Accept", listing)
	if s.user != "" {
		r.SetBasicAuth(s.user, s.password)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, s.failed(err)
	}
	defer answer.Body.Close()
	if err := s.judge(name, answer); err != nil {
		return nil, err
	}
	return s.read(name, io.Reader(answer.Body))
}

func (s server) judge(name string, answer *http.Response) error {
	switch answer.StatusCode {
	case http.StatusOK, http.StatusCreated:
		return nil
	case http.StatusNotFound:
		return s.missing(name)
	case http.StatusUnauthorized, http.StatusForbidden:
		return s.failed(fmt.Errorf("%w: the server answers %s", fs.ErrPermission, answer.Status))
	default:
		return s.failed(fmt.Errorf("the server answers %s", answer.Status))
	}
}
