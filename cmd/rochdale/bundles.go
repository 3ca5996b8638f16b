// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"io"
	"os"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/stacks"
	"rochdale/stacks/bundle"
)

// bundles joins the bundles of stacks to the appliance.
type bundles struct{}

var _ appliance.Bundles = bundles{}

// Unpack implements [appliance.Bundles].
func (b bundles) Unpack(ctx context.Context, from appliance.Source, dir string) (appliance.Bundle, error) {
	r, want, err := source(ctx, from)
	if err != nil {
		return appliance.Bundle{}, refused(err)
	}
	defer r.Close()
	if want != "" {
		if opened, err := store(dir).Open(want); err == nil {
			return joined(opened), nil
		}
	}
	opened, err := store(dir).Unpack(ctx, r, want)
	if err != nil {
		return appliance.Bundle{}, refused(err)
	}
	return joined(opened), nil
}

// Open implements [appliance.Bundles].
func (bundles) Open(_ context.Context, dir, digest string) (appliance.Bundle, error) {
	opened, err := store(dir).Open(digest)
	if err != nil {
		return appliance.Bundle{}, refused(err)
	}
	return joined(opened), nil
}

func store(dir string) bundle.Store { return bundle.Store{Dir: dir, Disk: host.NewFiles()} }

// source opens the archive; want is its digest where the binary knows it.
func source(ctx context.Context, from appliance.Source) (r io.ReadCloser, want string, err error) {
	if from.File != "" {
		f, err := os.Open(from.File)
		if err != nil {
			return nil, "", appliance.Problem("stack.bundle-file", err, "path", from.File, "detail", err)
		}
		return f, "", nil
	}
	if r, err = bundle.Embedded(from.Name); err != nil {
		return nil, "", err
	}
	known, err := bundle.Catalog(ctx)
	if err != nil {
		return nil, "", errors.Join(err, r.Close())
	}
	for _, e := range known {
		if e.Name == from.Name {
			want = e.Digest
		}
	}
	return r, want, nil
}

func joined(o *bundle.Opened) appliance.Bundle {
	b := appliance.Bundle{Digest: o.Digest, Stack: o.Stack, Dir: o.Path("."), Folder: o.Dir}
	for _, i := range o.Images {
		b.Images = append(b.Images, appliance.Image{
			Name: i.Name, ConfigDigest: i.ConfigDigest, ManifestDigest: i.ManifestDigest, DiffIDs: i.DiffIDs, Open: i.Open,
		})
	}
	return b
}

// maxPlaces is how many problems of one stack are told at once.
const maxPlaces = 100

// places are the problems of a stack as they travel to whoever asked.
func places(invalid *stacks.Invalid) []appliance.Place {
	list := make([]appliance.Place, 0, len(invalid.Problems))
	for _, p := range invalid.Problems[:min(len(invalid.Problems), maxPlaces)] {
		list = append(list, appliance.Place{File: p.File, Line: p.Line, Message: appliance.Message{ID: p.ID, Args: p.Args}})
	}
	return list
}

// refused turns what the stacks rooms say into an error of ours.
func refused(err error) error {
	var r *bundle.Refused
	var invalid *stacks.Invalid
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return &appliance.Error{Message: appliance.Message{ID: r.ID, Args: r.Args}, Code: appliance.ExitCheckFailed, Err: r.Err}
	case errors.As(err, &invalid):
		e := appliance.Problem("cli.stack-invalid", err, "count", len(invalid.Problems))
		e.Places = places(invalid)
		return e
	default:
		return err
	}
}
