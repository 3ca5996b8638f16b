// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The chains of our table that an operator's own rules go to.
const (
	// OwnIn is for what reaches this machine.
	OwnIn = "own_in"
	// OwnOut is for what the containers of stacks reach.
	OwnOut = "own_out"
)

// OwnRules are an operator's files NAME.nft and NAME.out.nft, whose lines are
// rules of OwnIn and OwnOut. Each is loaded by itself, so that a mistake in one
// takes away neither the others nor the table.
type OwnRules struct {
	Nft Nft
	// Base is the file that makes the table; Folder has the operator's files.
	Base, Folder string
}

// BadRules is a file that can not be loaded.
type BadRules struct {
	File string
	Err  error
}

// ownName is what a file may be called: its name is written into a line for
// nft, where others would be a pattern or end the line.
var ownName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*\.nft$`)

// Add loads the files on top of a table that has just been loaded, and gives
// those that it could not.
func (o OwnRules) Add(ctx context.Context) ([]BadRules, error) {
	return o.each(ctx, func(rules []byte) error { return o.Nft.Load(ctx, rules) })
}

// Check gives the files that could not be loaded; it loads nothing.
func (o OwnRules) Check(ctx context.Context) ([]BadRules, error) {
	base, err := os.ReadFile(o.Base)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o.each(ctx, func(rules []byte) error {
		return o.Nft.Check(ctx, slices.Concat(base, []byte("\n"), rules))
	})
}

func (o OwnRules) each(ctx context.Context, try func(rules []byte) error) ([]BadRules, error) {
	files, err := filepath.Glob(filepath.Join(o.Folder, "*.nft")) // in order
	if err != nil {
		return nil, err
	}
	var bad []BadRules
	for _, file := range files {
		rules, err := wrap(file)
		if err == nil {
			err = try(rules)
		}
		if ctx.Err() != nil {
			return bad, ctx.Err()
		}
		if err != nil {
			bad = append(bad, BadRules{File: file, Err: err})
		}
	}
	return bad, nil
}

// wrap says which chain a file's lines belong to.
func wrap(file string) ([]byte, error) {
	if !ownName.MatchString(filepath.Base(file)) {
		return nil, errors.New("its name has other characters than letters, digits, dots and dashes")
	}
	chain := OwnIn
	if strings.HasSuffix(file, ".out.nft") {
		chain = OwnOut
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "table inet rochdale {\n\tchain %s {\n\t\tinclude \"%s\"\n\t}\n}\n", chain, file)
	return b.Bytes(), nil
}
