// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
	"rochdale/backups/kit"
)

// TestForgedKit: a kit is no way to write anything else of a machine.
func TestForgedKit(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*kit.Repository)
		want   string
	}{
		"as it is made":         {func(*kit.Repository) {}, ""},
		"a folder of cron":      {func(r *kit.Repository) { r.Files["/etc/cron.d/x"] = nil }, "cli.recover.kit-foreign"},
		"out of its folder":     {func(r *kit.Repository) { r.Files["/etc/rochdale/../cron.d/x"] = nil }, "cli.recover.kit-foreign"},
		"whoever may log in":    {func(r *kit.Repository) { r.Files["/root/.ssh/authorized_keys"] = nil }, "cli.recover.kit-foreign"},
		"another variable":      {func(r *kit.Repository) { r.Env["A"] = "b\nLD_PRELOAD=/tmp/x" }, "cli.recover.kit-value"},
		"a name of two lines":   {func(r *kit.Repository) { r.Env["A=b\nLD_PRELOAD"] = "/tmp/x" }, "cli.recover.kit-value"},
		"a name that leads out": {func(r *kit.Repository) { r.Name = "../../cron.d/x" }, "backups.name"},
		"a program":             {func(r *kit.Repository) { r.Options = append(r.Options, "rclone.program=/tmp/x") }, "backups.option"},
	} {
		r := kit.Repository{
			Name: "offsite", URL: "sftp:rides@backup.example:/srv/rides", Password: "secret", Env: map[string]string{"A": "b c"},
			Options: []string{"sftp.args=-i /opt/keys/backup"},
			Files:   map[string][]byte{"/opt/keys/backup": []byte("key"), "/root/.ssh/known_hosts": nil, "/etc/rochdale/backup.key": nil},
		}
		c.change(&r)
		l, err := legacyOf(kit.Kit{Repositories: []kit.Repository{r}}, "age1x")
		if got := problemID(err); got != c.want || (c.want == "") != (len(l.Files) == 6) {
			t.Errorf("%s: %v, %d files", name, err, len(l.Files))
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
