// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// debian answers like apt of a machine on which packages depend on others.
type debian struct {
	needs  map[string][]string // a package and what it depends on
	manual []string
}

func (d debian) Run(_ context.Context, c host.Command) (host.Result, error) {
	if c.Name == "apt-mark" {
		return host.Result{Stdout: []byte(strings.Join(d.manual, "\n"))}, nil
	}
	at := slices.Index(c.Args, "remove")
	if c.Name != "apt-get" || at < 0 || !slices.Contains(c.Args, "--simulate") {
		return host.Result{}, errors.New("not asked for here: " + c.Name + " " + strings.Join(c.Args, " "))
	}
	doomed := slices.Clone(c.Args[at+1:])
	for range d.needs {
		for name, needs := range d.needs {
			if !slices.Contains(doomed, name) && slices.ContainsFunc(needs, func(n string) bool { return slices.Contains(doomed, n) }) {
				doomed = append(doomed, name)
			}
		}
	}
	out := []byte("Reading package lists...\n")
	for _, name := range doomed {
		out = append(out, "Remv "+name+" [1.0]\n"...)
	}
	return host.Result{Stdout: out}, nil
}

func TestUninstallLeavesWhatOthersNeed(t *testing.T) {
	before := []string{"fail2ban"}
	cases := []struct {
		name string
		d    debian
		want string
	}{
		{"nobody needs them", debian{}, "docker.io nftables"},
		{"somebody's own program needs one", debian{needs: map[string][]string{"docker-compose": {"docker.io"}}, manual: []string{"docker-compose"}}, "nftables"},
		{"through another package", debian{needs: map[string][]string{"helper": {"docker.io"}, "panel": {"helper"}}, manual: []string{"panel"}}, "nftables"},
		{"one that was here before us", debian{needs: map[string][]string{"fail2ban": {"nftables"}}}, "docker.io"},
		{"one that nobody asked for", debian{needs: map[string][]string{"helper": {"docker.io"}}}, "docker.io nftables"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			u := &uninstall{Deps: Deps{Runner: test.d}, record: Record{Before: before}}
			got, err := u.unneeded(t.Context(), []string{"docker.io", "nftables"})
			if err != nil || strings.Join(got, " ") != test.want {
				t.Errorf("it removes %v, %v; want %s", got, err, test.want)
			}
		})
	}
}

// TestPurgeGoesOn: a removal for good that is killed after any step still knows
// by what name to ask, until nothing is left that a name could protect.
func TestPurgeGoesOn(t *testing.T) {
	i, d := bench(t)
	s, _ := i.state()
	run(t, s)
	data := filepath.Join(d.Paths.Var(), "stacks", "delivery", "data", "1")
	if err := errors.Join(os.MkdirAll(data, 0o700), os.WriteFile(d.Paths.State(), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	plan, _, err := Uninstall(Removal{Purge: true}, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"data", "forget"} {
		if name := BoxName(d); name != i.o.Domain || !HasData(d) {
			t.Fatalf("before %s the name is %q, want %q", id, name, i.o.Domain)
		}
		at := slices.IndexFunc(plan.Steps, func(s step.Step) bool { return s.ID == id })
		run(t, plan.Steps[at])
		if !gone(filepath.Join(d.Paths.Var(), "stacks"), d.Paths.State(), d.Paths.ConfigDir()) {
			t.Fatalf("after %s some data is still there", id)
		}
	}
	if HasData(d) || !gone(d.Paths.Var()) {
		t.Error("something is left after the last step")
	}
}

// TestPurgeOnAVolumeOfItsOwn: the folder of the data is a mount point, which
// can be emptied but not removed. It needs root.
func TestPurgeOnAVolumeOfItsOwn(t *testing.T) {
	i, d := bench(t)
	if err := unix.Mount("tmpfs", d.Paths.Var(), "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.Paths.Var(), 0); err != nil {
			t.Error(err)
		}
	})
	s, _ := i.state()
	run(t, s)
	plan, _, err := Uninstall(Removal{Purge: true}, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range plan.Steps {
		if s.ID == "data" || s.ID == "forget" {
			run(t, s)
		}
	}
	if HasData(d) || Present(d) {
		t.Error("something is left")
	}
}
