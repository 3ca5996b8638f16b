// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

func TestSetHosts(t *testing.T) {
	for name, c := range map[string]struct{ before, want string }{
		"in flow style": {
			"schema: 1\nlanguage: fr\nstacks: {delivery: {domain: a.example, aliases: [b.example], name: Vélo}} # ours\n",
			"schema: 1\nlanguage: fr\nstacks: {delivery: {domain: new.example, aliases: [x.example], name: Vélo}} # ours\n",
		},
		"with comments": {
			"# top\nschema: 1\nstacks:\n  # the co-op\n  delivery:\n    domain: a.example # old\n",
			"# top\nschema: 1\nstacks:\n  # the co-op\n  delivery:\n    domain: new.example # old\n    aliases: [x.example]\n",
		},
		"a stack that was not there": {
			"schema: 1\n",
			"schema: 1\nstacks:\n  delivery:\n    domain: new.example\n    aliases: [x.example]\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := appliance.Paths{Root: t.TempDir()}
			if err := os.MkdirAll(p.ConfigDir(), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p.Config(), []byte(c.before), 0o644); err != nil {
				t.Fatal(err)
			}
			hosts := appliance.StackConfig{Domain: "new.example", Aliases: []string{"x.example"}}
			for range 2 { // an interrupted change is made again
				if err := appliance.SetHosts(p, host.NewFiles(), "delivery", hosts); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(p.Config())
			if err != nil || string(got) != c.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, c.want)
			}
		})
	}
}

func TestReadConfigRefuses(t *testing.T) {
	p := appliance.Paths{Root: t.TempDir()}
	if err := os.MkdirAll(p.ConfigDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := appliance.ReadConfig(p.Config()); !appliance.IsProblem(err, "config.missing") || appliance.ExitCode(err) != appliance.ExitNotThere {
		t.Error(err)
	}
	for text, id := range map[string]string{
		"":                            "config.syntax",
		"schema: 1\nno_such_key: 2\n": "config.syntax",
		"schema: 9\n":                 "config.schema",
		"schema: 1\nlanguage: tlh\n":  "config.value",
		"schema: 1\n# " + strings.Repeat("x", appliance.MaxConfig):                                         "config.too-large",
		"schema: 1\nstacks:\n  a1: {domain: x.example}\n  b1: {domain: y.example, aliases: [x.example]}\n": "config.host-twice",
	} {
		if err := os.WriteFile(p.Config(), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := appliance.ReadConfig(p.Config()); !appliance.IsProblem(err, id) {
			t.Errorf("%.30q: %v, want %s", text, err, id)
		}
	}
}

func TestConfigSurvivesItself(t *testing.T) {
	c := appliance.Config{
		Schema: 1, Language: "es", Email: "ada@rides.example", TLS: appliance.TLSConfig{Mode: "acme", ACMECA: "https://ca.example/dir"},
		Stacks:  map[string]appliance.StackConfig{"delivery": {Domain: "rides.example", Aliases: []string{"www.rides.example"}, Name: "Rides"}},
		Updates: appliance.UpdatesConfig{Reboot: "03:30"},
	}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := appliance.ParseConfig(strings.NewReader(string(data)))
	if err != nil || again.Email != c.Email || !slices.Equal(again.Stacks["delivery"].Hosts(), c.Stacks["delivery"].Hosts()) || again.URL("delivery") != "https://rides.example" || again.URL("x") != "" {
		t.Errorf("%+v %v", again, err)
	}
}

// TestConfigIsAPlainFile: a pipe in the document's place is an error at once,
// and not somebody to wait for.
func TestConfigIsAPlainFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rochdale.yaml")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Dir(path)} {
		if _, err := appliance.ReadConfig(p); !appliance.IsProblem(err, "config.unreadable") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestAliasesAreBounded(t *testing.T) {
	c, err := appliance.ParseConfig(strings.NewReader(testConfig))
	if err != nil {
		t.Fatal(err)
	}
	with := func(n int) error {
		entry := c.Stacks["delivery"]
		entry.Aliases = nil
		for i := range n {
			entry.Aliases = append(entry.Aliases, fmt.Sprintf("a%d.example", i))
		}
		c.Stacks["delivery"] = entry
		return c.Validate()
	}
	if err := with(appliance.MaxAliases); err != nil {
		t.Errorf("as many as may be: %v", err)
	}
	if err := with(appliance.MaxAliases + 1); !appliance.IsProblem(err, "config.too-many-aliases") {
		t.Errorf("one more: %v", err)
	}
}
