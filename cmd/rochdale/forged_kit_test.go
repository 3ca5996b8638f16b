// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
	"rochdale/backups/kit"
)

func nothingHere(string) bool { return false }

// TestForgedKit: a kit is no way to write anything else of a machine, nor to run anything.
func TestForgedKit(t *testing.T) {
	option := func(o string) func(*kit.Repository) {
		return func(r *kit.Repository) { r.Options = []string{o} }
	}
	file := func(path, content string) func(*kit.Repository) {
		return func(r *kit.Repository) { r.Files[path] = []byte(content) }
	}
	variable := func(name, value string) func(*kit.Repository) {
		return func(r *kit.Repository) { r.Env[name] = value }
	}
	const foreign, runs = "cli.recover.kit-foreign", "cli.recover.kit-runs"
	for name, c := range map[string]struct {
		change func(*kit.Repository)
		want   string
	}{
		"as it is made":         {func(*kit.Repository) {}, ""},
		"a folder of cron":      {file("/etc/cron.d/x", ""), foreign},
		"out of its folder":     {file("/etc/rochdale/../cron.d/x", ""), foreign},
		"whoever may log in":    {file("/root/.ssh/authorized_keys", ""), foreign},
		"at each log-in":        {file("/root/.ssh/rc", "id"), foreign},
		"an environment":        {file("/root/.ssh/environment", "A=1"), foreign},
		"the firewall":          {file("/etc/rochdale/firewall.d/x.nft", ""), foreign},
		"the firewall's table":  {file("/etc/rochdale/firewall.nft", ""), foreign},
		"the configuration":     {file("/etc/rochdale/rochdale.yaml", ""), foreign},
		"for whom kits are":     {file("/etc/rochdale/recovery.json", ""), foreign},
		"its variables":         {file("/etc/rochdale/backups/offsite.env", "LD_PRELOAD=/etc/rochdale/x"), foreign},
		"another's variables":   {file("/etc/rochdale/backups/other.env", "LD_PRELOAD=/etc/rochdale/x"), foreign},
		"a password":            {file("/etc/rochdale/backups/offsite.password", "x"), foreign},
		"a named folder":        {func(r *kit.Repository) { option("sftp.args=-i /etc/cron.d/x")(r); file("/etc/cron.d/x", "")(r) }, foreign},
		"a named list of hosts": {option("sftp.args=-oUserKnownHostsFile=/etc/cron.d/x"), runs},
		"another variable":      {variable("AWS_REGION", "b\nLD_PRELOAD=/tmp/x"), "cli.recover.kit-value"},
		"after a return":        {variable("AWS_REGION", "b\rLD_PRELOAD=/tmp/x"), "cli.recover.kit-value"},
		"a comment's return":    {file("/etc/rochdale/backups/offsite.env", "# c\rLD_PRELOAD=/etc/rochdale/x"), foreign},
		"a name of two lines":   {variable("A=b\nLD_PRELOAD", "/tmp/x"), "cli.recover.kit-value"},
		"a library":             {variable("LD_PRELOAD", "/etc/rochdale/x"), runs},
		"a command for restic":  {variable("RESTIC_PASSWORD_COMMAND", "/bin/x"), runs},
		"a name that leads out": {func(r *kit.Repository) { r.Name = "../../cron.d/x" }, "backups.name"},
		"a program":             {option("rclone.program=/tmp/x"), "backups.option"},
		"a command":             {option("sftp.command=/bin/x"), runs},
		"a proxy":               {option("sftp.args=-o ProxyCommand=/bin/x"), runs},
		"ssh's own":             {file("/root/.ssh/config", "Host *\n\tproxycommand /bin/x\n"), runs},
		"ssh's own, plain":      {file("/root/.ssh/known_hosts", "backup.example ssh-ed25519 AAAA"), ""},
	} {
		r := kit.Repository{
			Name: "offsite", URL: "sftp:rides@backup.example:/srv/rides", Password: "secret", Env: map[string]string{"AWS_REGION": "b c"},
			Options: []string{"sftp.args=-i /etc/rochdale/backup.key -J jump.example -oPort=2222"},
			Files:   map[string][]byte{"/root/.ssh/id_rides": []byte("key"), "/root/.ssh/known_hosts": nil, "/etc/rochdale/backup.key": nil},
		}
		c.change(&r)
		l, err := (&kitBounds{here: nothingHere}).legacyOf(kit.Kit{Repositories: []kit.Repository{r}}, "age1x")
		if got := problemID(err); got != c.want || (c.want == "") != (len(l.Files) == 6) {
			t.Errorf("%s: %v, %d files", name, err, len(l.Files))
		}
	}
}

// TestKitByHand: what a kit may not bring is left out of it where somebody has put what
// it was for in place; nothing of theirs is written over.
func TestKitByHand(t *testing.T) {
	a, _ := testApp(false, nil)
	a.paths = appliance.Paths{Root: t.TempDir()}
	lay(t, map[string]string{
		a.paths.Root + appliance.SSHConfig: "Host backup.example\nProxyCommand mine\n", a.paths.Root + "/opt/keys/rides": "mine",
		a.paths.RepositoryEnv("offsite"): "LD_LIBRARY_PATH=mine\n", a.paths.Root + "/etc/hosts": "mine",
	})
	r := kit.Repository{
		Name: "offsite", URL: "sftp:rides@backup.example:/srv/rides", Password: "secret", Env: map[string]string{"LD_LIBRARY_PATH": "/tmp/x"},
		Options: []string{"sftp.args=-i /opt/keys/rides", "sftp.command=sshpass -p hunter2 ssh"},
		Files:   map[string][]byte{"/opt/keys/rides": []byte("theirs"), appliance.SSHConfig: []byte("Include /tmp/x")},
	}
	b := &kitBounds{here: a.byHand}
	l, err := b.legacyOf(kit.Kit{Configuration: recoverConfig, Repositories: []kit.Repository{r}}, "age1x")
	if err != nil || len(l.Files) != 2 || len(b.left) != 4 || l.Configuration != recoverConfig {
		t.Errorf("%v, %d files, left out %v", err, len(l.Files), b.left)
	}
	if said := fmt.Sprint(b.left); strings.Contains(said, "hunter2") || strings.Contains(said, "/tmp/x") || !strings.Contains(said, "sftp.command") {
		t.Errorf("left out %s", said)
	}
	// What stands here holds also where the kit's own is plain: else one would be in the
	// way of the other for ever.
	r.Options, r.Env = nil, map[string]string{"AWS_REGION": "x"}
	r.Files = map[string][]byte{appliance.SSHConfig: []byte("Port 23\n"), "/root/.ssh/id_rides": []byte("key")}
	b = &kitBounds{here: a.byHand}
	if l, err = b.legacyOf(kit.Kit{Configuration: recoverConfig, Repositories: []kit.Repository{r}}, "age1x"); err != nil || len(l.Files) != 3 || len(b.left) != 2 {
		t.Errorf("%v, %d files, left out %v", err, len(l.Files), b.left)
	}
	r.Files["/etc/hosts"] = nil // it is there, and nothing for ssh to log in with
	if _, err := b.legacyOf(kit.Kit{Repositories: []kit.Repository{r}}, "age1x"); problemID(err) != "cli.recover.kit-foreign" {
		t.Error(err)
	}
}

// TestForgedKitConfiguration: the configuration that a kit brings is what this machine
// will go by, so it may run no more than the kit itself.
func TestForgedKitConfiguration(t *testing.T) {
	const start = "# ours\nschema: 1\nlanguage: en\nbackups:\n  repositories:\n    offsite: {url: \"sftp:rides@backup.example:/srv/rides\", options: [\"sftp.connections=2\", \"%\"]}\n"
	for option, plain := range map[string]bool{"sftp.args=-i /etc/rochdale/key": true, "sftp.command=/bin/x": false, "sftp.args=-oProxyCommand=/bin/x": false} {
		k := kit.Kit{Configuration: strings.Replace(start, "%", option, 1)}
		l, err := (&kitBounds{here: nothingHere}).legacyOf(k, "age1x")
		if plain && (err != nil || l.Configuration != k.Configuration) || !plain && problemID(err) != "cli.recover.kit-runs" {
			t.Errorf("%s: %v, %s", option, err, l.Configuration)
		}
		if plain {
			continue
		}
		l, err = (&kitBounds{here: func(path string) bool { return path == appliance.SSHConfig }}).legacyOf(k, "age1x")
		if err != nil || strings.Contains(l.Configuration, "/bin/x") || !strings.Contains(l.Configuration, "sftp.connections=2") {
			t.Errorf("%s by hand: %v, %s", option, err, l.Configuration)
		}
	}
}

func problemID(err error) string {
	var ours *appliance.Error
	var theirs *backups.Problem
	switch {
	case errors.As(err, &ours):
		return ours.ID
	case errors.As(err, &theirs):
		return theirs.ID
	default:
		return ""
	}
}

// TestForgedConfiguration: the configuration in a kit is judged like any other.
func TestForgedConfiguration(t *testing.T) {
	const start = "schema: 1\nbackups:\n  repositories:\n    offsite: {url: \"sftp:rides@backup.example:/srv/rides\", options: [%]}\n"
	for option, want := range map[string]bool{`"sftp.connections=2"`: true, `"rclone.program=/tmp/x"`: false, `"sftp.args=-i /k\n"`: false} {
		_, err := appliance.ParseConfig(strings.NewReader(strings.Replace(start, "%", option, 1)))
		if (err == nil) != want {
			t.Errorf("%s: %v", option, err)
		}
	}
}

// TestCalmTitle: a problem that is in no catalogue is shown as it is, and a terminal
// obeys nothing of it.
func TestCalmTitle(t *testing.T) {
	a, out := testApp(false, nil)
	a.printer.problem(problem{Title: "no \x1b]52;c;cm0gLXJm\x07 text"})
	if strings.ContainsAny(out.String(), "\x1b\x07") {
		t.Errorf("%q", out.String())
	}
}

// TestRuntimeOf: a unit ends by itself a while after nobody waits for it any more.
func TestRuntimeOf(t *testing.T) {
	if got := runtimeOf(t.Context()); got != nil {
		t.Errorf("without a limit: %v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if got := runtimeOf(ctx); len(got) != 1 || got[0] != "RuntimeMaxSec=3899" && got[0] != "RuntimeMaxSec=3900" {
		t.Errorf("an hour: %v", got)
	}
}

// TestKitSaysWhatItLacks: what no kit may bring is named when the kit is made.
func TestKitSaysWhatItLacks(t *testing.T) {
	root := t.TempDir()
	lay(t, map[string]string{
		root + "/opt/keys/rides": "a key", root + "/root/.ssh/known_hosts": "a host", root + "/root/.ssh/authorized_keys": "somebody",
		root + appliance.SSHConfig: "Host backup.example\n  Port 23\n  ProxyCommand nc %h %p\n",
	})
	for options, want := range map[string]string{
		"":                             "/root/.ssh/config (ProxyCommand)",
		"sftp.args=-i /opt/keys/rides": "/opt/keys/rides, /root/.ssh/config (ProxyCommand)",
		"sftp.args=-F /dev/null -i /root/.ssh/authorized_keys": "/root/.ssh/authorized_keys",
	} {
		var beyond []string
		files := map[string][]byte{}
		r := backups.Repository{URL: "sftp:rides@backup.example:/srv/rides", Options: []string{options}}
		err := kits{paths: appliance.Paths{Root: root}}.addLogin(r, files, func(what string) { beyond = append(beyond, what) })
		if got := strings.Join(beyond, ", "); err != nil || got != want {
			t.Errorf("%q: %q, %v", options, got, err)
		}
		if len(files) != 1 || string(files["/root/.ssh/known_hosts"]) != "a host" {
			t.Errorf("%q: files %q", options, files)
		}
	}
}
