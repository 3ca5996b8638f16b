// Package stacks imports nothing, and must never import anything.
package stacks

import (
	_ "github.com/docker/docker/client"

	_ "rochdale/backups"
)
