// SPDX-License-Identifier: AGPL-3.0-or-later

package box

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rochdale/installer/testhost"
)

// Snapshot is what two machines that were installed by the same command must
// agree on. Its keys are the declared fields.
type Snapshot map[string]string

// field is one declared field: a program whose output is compared, after drop
// took out what is random by nature.
type field struct {
	name string
	args []string
	drop []*regexp.Regexp
}

func fields() []field {
	var (
		suffix = regexp.MustCompile(`(rochdale-[a-z]+-[a-z]+-)[a-z0-9]{6}`)
		counts = regexp.MustCompile(`counter packets \d+ bytes \d+`)
		scopes = regexp.MustCompile(`[0-9a-f]{64}\.(scope|mount)`)
	)
	return []field{
		// key.json is a random key that Docker makes for itself.
		{name: "files of ours: mode, owner, name, content", args: []string{"find", "/etc/rochdale", "/usr/local/lib/rochdale", "/usr/local/bin", "/etc/systemd/system", "/etc/docker",
			"/etc/apt/apt.conf.d", "/etc/apt/preferences.d", "/usr/local/lib/sysusers.d", "/etc/sysusers.d", "-type", "f", "-not", "-path", "/etc/docker/key.json", "-printf", "%m %U:%G %p ", "-exec", "sha256sum", "{}", ";"}},
		{name: "links of ours", args: []string{"find", "/usr/local/lib/rochdale", "/usr/local/bin", "/etc/systemd/system", "-type", "l", "-printf", "%p -> %l\n"}},
		{name: "folders of ours", args: []string{"find", "/etc/rochdale", "/usr/local/lib/rochdale", "/var/lib/rochdale", "-maxdepth", "3", "-type", "d", "-not", "-path", "*/edge/*", "-printf", "%m %U:%G %p\n"}},
		{name: "data", args: []string{"find", "/var/lib/rochdale/stacks", "-printf", "%m %U:%G %y %p\n"}, drop: []*regexp.Regexp{regexp.MustCompile(`(?m)^.*-(wal|shm)\n`)}},
		{name: "accounts", args: []string{"getent", "passwd", "rochdale-edge", "rochdale-web"}},
		{name: "packages", args: []string{"dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n"}},
		{name: "packages on hold", args: []string{"apt-mark", "showhold"}},
		{name: "packages by hand", args: []string{"apt-mark", "showmanual"}},
		{name: "units enabled", args: []string{"systemctl", "list-unit-files", "--state=enabled", "--no-legend", "--no-pager"}},
		{name: "units running", args: []string{"systemctl", "list-units", "--plain", "--no-legend", "--no-pager", "--state=active", "rochdale*", "docker*", "containerd*"}, drop: []*regexp.Regexp{scopes}},
		{name: "units failed", args: []string{"systemctl", "list-units", "--plain", "--no-legend", "--no-pager", "--state=failed"}},
		{name: "firewall", args: []string{"nft", "list", "table", "inet", "rochdale"}, drop: []*regexp.Regexp{counts}},
		{name: "containers", args: []string{"curl", "-sS", "--unix-socket", "/run/docker.sock", "http://docker/containers/json?all=1"}},
		{name: "stack", args: []string{"rochdale", "stack", "list", "--json"}, drop: []*regexp.Regexp{suffix}},
	}
}

// Snapshot reads the declared fields. The containers are reduced to what is
// not random: names without their suffix, image, state and labels.
func (b *Box) Snapshot(ctx context.Context) (Snapshot, error) {
	s := Snapshot{}
	for _, f := range fields() {
		r, err := b.Exec(ctx, testhost.Command{Args: f.args})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		out := r.Stdout
		if f.name == "containers" {
			if out, err = containers(out); err != nil {
				return nil, err
			}
		}
		for _, re := range f.drop {
			out = re.ReplaceAllString(out, "$1")
		}
		s[f.name] = sorted(out)
	}
	status, err := b.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, st := range status.Stacks {
		s["status of "+st.Name] = fmt.Sprint(status.Healthy, st.Version, st.State, st.URL)
	}
	return s, nil
}

// Differences lists the fields in which two snapshots differ, with their lines.
func (s Snapshot) Differences(other Snapshot) []string {
	var found []string
	for name, want := range s {
		if got := other[name]; got != want {
			found = append(found, name+":\n"+lineDiff(want, got))
		}
	}
	for name := range other {
		if _, known := s[name]; !known {
			found = append(found, name+": only in the second")
		}
	}
	slices.Sort(found)
	return found
}

func lineDiff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	for _, l := range a {
		if !slices.Contains(b, l) {
			out.WriteString("  - " + l + "\n")
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out.WriteString("  + " + l + "\n")
		}
	}
	return out.String()
}

func sorted(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
