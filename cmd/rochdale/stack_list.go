// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/stacks/bundle"
)

// listedStack is a stack that this program brings along, or that runs here.
type listedStack struct {
	Name     string `json:"name"`
	Title    string `json:"title,omitempty"`
	Embedded string `json:"embedded_version,omitempty"`
	Digest   string `json:"embedded_digest,omitempty"`
	Version  string `json:"version,omitempty"` // that runs here
	State    string `json:"state,omitempty"`
	URL      string `json:"url,omitempty"`
}

func newStackListCommand(a *app) *cobra.Command {
	return a.verb("list", "help.stack.list", func(c *cobra.Command, _ []string) error {
		list, err := a.listStacks(c.Context())
		if err != nil {
			return err
		}
		if a.printer.JSON() {
			return a.printer.Object(struct {
				Schema int           `json:"schema"`
				Stacks []listedStack `json:"stacks"`
			}{1, list})
		}
		a.writeStacks(list)
		return nil
	})
}

// listStacks joins what the program brings with what runs here. A machine
// without Rochdale has only the first.
func (a *app) listStacks(ctx context.Context) ([]listedStack, error) {
	if err := a.there(); appliance.IsProblem(err, "cli.needs-root") {
		return nil, err
	}
	entries, err := bundle.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]listedStack, 0, len(entries))
	for _, e := range entries {
		list = append(list, listedStack{Name: e.Name, Title: inLanguage(e.Title, a.lang), Embedded: e.Version, Digest: e.Digest})
	}
	running, err := api.NewClient(a.paths.DaemonSocket()).Status(ctx)
	if err == nil {
		list = addRunning(list, running.Stacks)
	}
	slices.SortFunc(list, func(a, b listedStack) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func addRunning(list []listedStack, running []appliance.StackStatus) []listedStack {
	for _, r := range running {
		i := slices.IndexFunc(list, func(l listedStack) bool { return l.Name == r.Name })
		if i < 0 {
			list = append(list, listedStack{Name: r.Name})
			i = len(list) - 1
		}
		list[i].Version, list[i].State, list[i].URL = r.Version, r.State, r.URL
	}
	return list
}

func (a *app) writeStacks(list []listedStack) {
	if len(list) == 0 {
		a.printer.Say("cli.stack.none")
		return
	}
	var rows [][]string
	for _, l := range list {
		here := a.t("cli.stack.not-here")
		if l.State != "" {
			here = a.t("cli.state." + l.State)
		}
		rows = append(rows, []string{l.Name, dash(l.Embedded), dash(l.Version), here, dash(l.URL)})
	}
	a.table(a.streams.Out, []string{"cli.head.stack", "cli.head.brought", "cli.head.version", "cli.head.state", "cli.head.address"}, rows)
}

func dash(s string) string { return cmp.Or(s, "-") }

// inLanguage is the text in the language, else in English, else the first there is.
func inLanguage(texts map[string]string, lang string) string {
	if s := cmp.Or(texts[lang], texts["en"]); s != "" {
		return s
	}
	for _, s := range texts {
		return s
	}
	return ""
}
