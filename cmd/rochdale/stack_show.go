// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/stacks"
	"rochdale/stacks/bundle"
)

// shownStack is what `rochdale stack show --json` prints.
type shownStack struct {
	Schema    int               `json:"schema"`
	Name      string            `json:"name"`
	Version   string            `json:"version"`
	Title     map[string]string `json:"title"`
	Digest    string            `json:"digest,omitempty"` // empty for a folder
	User      int               `json:"user"`
	Memory    int64             `json:"needs_memory_bytes"`
	Disk      int64             `json:"needs_disk_bytes"`
	Databases []shownDatabase   `json:"databases"`
	Services  []shownService    `json:"services"`
}

type shownDatabase struct {
	Name   string `json:"name"`
	Engine string `json:"engine"`
}

type shownService struct {
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	Web     bool     `json:"web"` // it answers visitors
	Memory  int64    `json:"memory_bytes"`
	CPUs    float64  `json:"cpus"`
	PIDs    int64    `json:"pids"`
	Volumes []string `json:"volumes"`
}

func newStackShowCommand(a *app) *cobra.Command {
	return a.verb("show NAME", "help.stack.show", func(c *cobra.Command, args []string) error {
		s, digest, err := readStack(c.Context(), args[0])
		if err != nil {
			return err
		}
		v := showStack(s, digest)
		if a.printer.JSON() {
			return a.printer.Object(v)
		}
		a.writeStack(a.streams.Out, v)
		return nil
	})
}

// readStack reads a stack from a folder ("./mine", "/srv/mine") or, by its name,
// the one that this program brings along.
func readStack(ctx context.Context, name string) (s stacks.Stack, digest string, err error) {
	if strings.ContainsRune(name, os.PathSeparator) || name == "." {
		s, err = readFolder(name)
		return s, "", err
	}
	file, err := bundle.Embedded(name)
	if err != nil {
		return s, "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return bundle.Describe(ctx, file)
}

func readFolder(dir string) (stacks.Stack, error) {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return stacks.Stack{}, usage("cli.stack.no-folder", "path", dir)
	}
	if err != nil {
		return stacks.Stack{}, appliance.Problem("cli.stack.no-folder", err, "path", dir)
	}
	return stacks.Parse(os.DirFS(dir))
}

func showStack(s stacks.Stack, digest string) shownStack {
	m := s.Manifest
	v := shownStack{
		Schema: 1, Name: m.Name, Version: m.Version, Title: m.Title, Digest: digest, User: m.User,
		Memory: m.Needs.Memory, Disk: m.Needs.Disk, Databases: []shownDatabase{}, Services: []shownService{},
	}
	for _, name := range slices.Sorted(maps.Keys(m.Databases)) {
		v.Databases = append(v.Databases, shownDatabase{Name: name, Engine: m.Databases[name].Engine})
	}
	for _, x := range s.Services {
		one := shownService{
			Name: x.Name, Image: x.Image, Web: x.Name == m.Web.Service,
			Memory: x.Memory, CPUs: x.CPUs, PIDs: x.PIDs, Volumes: []string{},
		}
		for _, mount := range x.Mounts {
			one.Volumes = append(one.Volumes, mount.Volume)
		}
		v.Services = append(v.Services, one)
	}
	return v
}

func (a *app) writeStack(w io.Writer, v shownStack) {
	fmt.Fprintf(w, "%s %s: %s\n", v.Name, v.Version, inLanguage(v.Title, a.lang))
	if v.Digest != "" {
		fmt.Fprintln(w, a.t("cli.stack.digest", "digest", v.Digest))
	}
	fmt.Fprintln(w, a.t("cli.stack.needs", "memory", bytesText(v.Memory), "disk", bytesText(v.Disk)))
	fmt.Fprintln(w, a.t("cli.stack.user", "user", v.User))
	var databases, services [][]string
	for _, d := range v.Databases {
		databases = append(databases, []string{d.Name, d.Engine})
	}
	for _, s := range v.Services {
		role := "-"
		if s.Web {
			role = a.t("cli.stack.web")
		}
		cpus := strconv.FormatFloat(s.CPUs, 'g', -1, 64)
		services = append(services, []string{s.Name, role, bytesText(s.Memory), cpus, strconv.FormatInt(s.PIDs, 10), dash(strings.Join(s.Volumes, ", "))})
	}
	a.section(w, []string{"cli.head.database", "cli.head.engine"}, databases)
	a.section(w, []string{"cli.head.service", "cli.head.role", "cli.head.memory-limit", "cli.head.cpu-limit", "cli.head.process-limit", "cli.head.data"}, services)
}
