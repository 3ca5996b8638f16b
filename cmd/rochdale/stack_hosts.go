// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// hostOptions are the flags of `rochdale stack hosts`.
type hostOptions struct {
	domain  string
	aliases []string
	forget  bool
}

// hostsAnswer is what `rochdale stack hosts --json` ends with.
type hostsAnswer struct {
	Schema  int      `json:"schema"`
	Stack   string   `json:"stack"`
	Domain  string   `json:"domain"`
	Aliases []string `json:"aliases"`
}

func newStackHostsCommand(a *app) *cobra.Command {
	var o hostOptions
	c := a.verb("hosts NAME", "help.stack.hosts", func(c *cobra.Command, args []string) error {
		return a.hosts(c.Context(), args[0], o, c.Flags().Changed("alias"))
	})
	f := c.Flags()
	f.StringVar(&o.domain, "domain", "", a.t("flag.hosts.domain"))
	f.StringSliceVar(&o.aliases, "alias", nil, a.t("flag.hosts.alias"))
	f.BoolVar(&o.forget, "forget-old", false, a.t("flag.hosts.forget-old"))
	return c
}

// hosts shows the names of a stack, and changes them when a flag asks for it.
func (a *app) hosts(ctx context.Context, stack string, o hostOptions, aliases bool) error {
	if err := a.there(); err != nil {
		return err
	}
	config, err := a.config()
	if err != nil {
		return err
	}
	now, ok := config.Stacks[stack]
	if !ok {
		return usage("cli.stack.unknown", "stack", stack)
	}
	if o.domain == "" && !aliases {
		return a.tellHosts(stack, now)
	}
	want := wantedHosts(now, o, aliases)
	r := appliance.HostsRequest{Stack: stack, Domain: want.Domain, Aliases: want.Aliases}
	if err := api.NewClient(a.paths.DaemonSocket()).Hosts(ctx, r, a.printer.Event); err != nil {
		return withLog(err, "rochdale logs daemon")
	}
	return a.tellHosts(stack, want)
}

// wantedHosts: what no flag names stays. The old domain goes on to point to the
// new one, because links to it are on posters and in messages.
func wantedHosts(now appliance.StackConfig, o hostOptions, aliases bool) appliance.StackConfig {
	want := appliance.StackConfig{Domain: now.Domain, Aliases: slices.Clone(now.Aliases)}
	if aliases {
		want.Aliases = slices.Clone(o.aliases)
	}
	if o.domain != "" && o.domain != now.Domain {
		want.Domain = o.domain
		if !o.forget {
			want.Aliases = append(want.Aliases, now.Domain)
		}
	}
	want.Aliases = slices.DeleteFunc(want.Aliases, func(h string) bool { return h == want.Domain || h == "" })
	slices.Sort(want.Aliases)
	want.Aliases = slices.Compact(want.Aliases)
	return want
}

func (a *app) tellHosts(stack string, s appliance.StackConfig) error {
	v := hostsAnswer{Schema: 1, Stack: stack, Domain: s.Domain, Aliases: append([]string{}, s.Aliases...)}
	a.printer.Result(v, func(w io.Writer) {
		fmt.Fprintln(w, a.t("cli.hosts.domain", "stack", stack, "domain", s.Domain))
		for _, alias := range s.Aliases {
			fmt.Fprintln(w, a.t("cli.hosts.alias", "alias", alias, "domain", s.Domain))
		}
	})
	return nil
}
