// SPDX-License-Identifier: AGPL-3.0-or-later

// Package engine hides the engine. It may import the root; it must never import a sibling.
package engine

import (
	"embed"
	"errors"
	"regexp"

	_ "github.com/docker/docker/client"

	_ "rochdale/appliance"
	_ "rochdale/appliance/text"
)

//go:embed *.go
var files embed.FS

var (
	errGone = errors.New("gone")
	form    = regexp.MustCompile("^a")
	_       = files
	cache   = map[string]string{}
)

var counter int

func init() { counter++ }
