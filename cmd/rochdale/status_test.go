// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
)

// speaking is an app that answers in a language.
func speaking(t *testing.T, lang string) (*app, *bytes.Buffer) {
	t.Helper()
	a, out := testApp(false, nil, "--lang", lang)
	if err := newRootCommand(a).ParseFlags([]string{"--lang", lang}); err != nil {
		t.Fatal(err)
	}
	a.printer.configure(a.flags)
	return a, out
}

// TestStatusHeadline: not all is well while there is a warning, and what is at work is
// told in words.
func TestStatusHeadline(t *testing.T) {
	view := func(s appliance.Severity) []View { return []View{{ID: "backup.failed", Severity: s}} }
	at := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	jobs := []appliance.Job{{ID: "01", Plan: "stack-update", Key: "delivery", Opened: at}, {ID: "02", Plan: "backup-drill", Key: "box.exclusive", Opened: at}}
	for name, c := range map[string]struct {
		lang string
		s    statusAnswer
		want []string
	}{
		"well":    {"en", statusAnswer{Status: appliance.Status{Healthy: true}, Running: true, Findings: view(appliance.Notice)}, []string{"All is well."}},
		"warning": {"en", statusAnswer{Status: appliance.Status{Healthy: true}, Running: true, Findings: view(appliance.Warning)}, []string{"It runs. Something below needs a look."}},
		"failure": {"fr", statusAnswer{Running: true, Findings: view(appliance.Failure)}, []string{"Quelque chose demande votre attention."}},
		"at work": {"en", statusAnswer{Status: appliance.Status{Healthy: true, Jobs: jobs}, Running: true}, []string{
			"All is well.", "At work: update (delivery), since 2027-01-31 18:00 UTC.", "At work: trial restore (this machine), since 2027-01-31 18:00 UTC.",
		}},
		"waits": {"es", statusAnswer{Status: appliance.Status{Jobs: jobs[:1]}}, []string{
			"El servicio no está en marcha", "Algo necesita atención.", "Espera al servicio para seguir: actualización (delivery), empezó 2027-01-31 18:00 UTC.",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a, out := speaking(t, c.lang)
			a.writeStatus(out, c.s)
			lines := strings.Split(out.String(), "\n")
			for i, want := range c.want {
				if len(lines) <= i || !strings.HasPrefix(lines[i], want) {
					t.Fatalf("line %d is not %q:\n%s", i+1, want, out)
				}
			}
		})
	}
}

// TestBackupList tells of a repository without a snapshot as such, and of when what is
// there was last proven.
func TestBackupList(t *testing.T) {
	at := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	list := []appliance.RepositoryStatus{
		{Name: "box", Kind: "local", LastSuccess: at, Check: appliance.RunStatus{LastSuccess: at.Add(time.Hour)}, Drill: appliance.RunStatus{LastSuccess: at.Add(2 * time.Hour)}},
		{Name: "offsite", Kind: "sftp"},
	}
	a, out := speaking(t, "en")
	a.writeRepositories(list)
	a.writeSnapshots([]appliance.Restorable{exampleSnapshot()}, "offsite")
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"box local 2027-01-31 18:00 UTC well", "offsite sftp - nothing saved yet",
		"Repository Last check passed Last restore tried out box 2027-01-31 19:00 UTC 2027-01-31 20:00 UTC offsite - -",
		"rochdale restore --from offsite --at SNAPSHOT.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	a, out = speaking(t, "en")
	a.writeSnapshots([]appliance.Restorable{exampleSnapshot()}, "")
	if !strings.Contains(out.String(), "rochdale restore --at SNAPSHOT.") {
		t.Errorf("%s", out)
	}
}
