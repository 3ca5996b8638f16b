// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Nft talks to the kernel's packet filter.
type Nft struct{ Runner Runner }

// Check reports what is wrong with rules; it loads nothing.
func (n Nft) Check(ctx context.Context, rules []byte) error {
	_, err := n.Runner.Run(ctx, Command{Name: "nft", Args: []string{"--check", "--file", "-"}, Stdin: bytes.NewReader(rules)})
	return err
}

// Load loads rules, all or none.
func (n Nft) Load(ctx context.Context, rules []byte) error {
	_, err := n.Runner.Run(ctx, Command{Name: "nft", Args: []string{"--file", "-"}, Stdin: bytes.NewReader(rules)})
	return err
}

// HasTable tells whether a table ("inet", "rochdale") is loaded.
func (n Nft) HasTable(ctx context.Context, family, name string) (bool, error) {
	err := n.run(ctx, "list", "table", family, name)
	var exit *ExitError
	if errors.As(err, &exit) && strings.Contains(exit.Stderr, "No such file") {
		return false, nil
	}
	return err == nil, err
}

// DeleteTable unloads a table; one that is not there is no error.
func (n Nft) DeleteTable(ctx context.Context, family, name string) error {
	there, err := n.HasTable(ctx, family, name)
	if err != nil || !there {
		return err
	}
	return n.run(ctx, "delete", "table", family, name)
}

func (n Nft) run(ctx context.Context, args ...string) error {
	if _, err := n.Runner.Run(ctx, Command{Name: "nft", Args: args}); err != nil {
		return fmt.Errorf("packet filter: %w", err)
	}
	return nil
}
