// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// looker runs what systemd-run is asked to, as itself: the locking in is
// systemd's business, that it was asked for is ours.
type looker struct{ t *testing.T }

func (l looker) Run(ctx context.Context, c host.Command) (host.Result, error) {
	at := slices.Index(c.Args, "--")
	for _, want := range []string{"--property=DynamicUser=yes", "--property=PrivateNetwork=yes", "--property=RuntimeMaxSec=60", "--property=MemoryMax=256M"} {
		if c.Name != "systemd-run" || !slices.Contains(c.Args[:max(0, at)], want) {
			l.t.Errorf("%s %v lacks %s", c.Name, c.Args, want)
		}
	}
	r, err := host.Exec{}.Run(ctx, host.Command{Name: c.Args[at+1], Args: c.Args[at+2:]})
	r.Stderr = append(r.Stderr, "Finished with result: x\nMain processes terminated with: code=exited/status=x\n"...)
	return r, err
}

// program builds a small one of the main package that path names; it prints what
// it is told when it is asked for its version.
func program(t *testing.T, module, arch, says string) string {
	t.Helper()
	dir := t.TempDir()
	source := "package main\n\nfunc main() {}\n"
	if says != "" {
		source = "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(`" + says + "`) }\n"
	}
	main := filepath.Join(dir, "cmd", "rochdale")
	err := errors.Join(os.MkdirAll(main, 0o755), os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module "+module+"\n\ngo 1.26\n"), 0o600),
		os.WriteFile(filepath.Join(main, "main.go"), []byte(source), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "./cmd/rochdale")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch, "GOFLAGS=-mod=mod", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBring(t *testing.T) {
	other := map[string]string{"amd64": "arm64", "arm64": "amd64", "arm": "arm64"}[runtime.GOARCH]
	cases := []struct {
		name, file string
		want       string // id of the error, or the version
		code       int
	}{
		{"ours", program(t, "rochdale", runtime.GOARCH, `{"schema":1,"version":"1.1.0"}`), "1.1.0", 0},
		{"for another machine", program(t, "rochdale", other, ""), "self.other-machine", appliance.ExitCheckFailed},
		{"another program", program(t, "elsewhere", runtime.GOARCH, ""), "self.not-ours", appliance.ExitCheckFailed},
		{"one that says nothing", program(t, "rochdale", runtime.GOARCH, ""), "self.does-not-run", appliance.ExitCheckFailed},
		{"one whose version leads elsewhere", program(t, "rochdale", runtime.GOARCH, `{"version":"../../etc"}`), "self.does-not-run", appliance.ExitCheckFailed},
		{"no program", file(t, "#!/bin/sh\necho hello\n"), "self.not-ours", appliance.ExitCheckFailed},
		{"an empty file", file(t, ""), "self.not-ours", appliance.ExitCheckFailed},
		{"a folder", t.TempDir(), "self.not-ours", appliance.ExitCheckFailed},
		{"nothing", filepath.Join(t.TempDir(), "none"), "self.no-file", appliance.ExitUsage},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			m := newTwin(t)
			s := m.self
			s.Runner = looker{t}
			b, err := s.Bring(t.Context(), test.file, Force{})
			if b.Version == test.want && err == nil {
				digest, _, err := digestOf(test.file)
				if err != nil || b.Program != "1.1.0-"+digest[:shortDigest] || s.settle(b.Program) != nil || !s.whole(b.Program) {
					t.Errorf("it was brought as %+v, %v", b, err)
				}
				// Once more: it is there, and leaves nothing of 80 MB behind.
				if _, err := s.takeIn(test.file); err != nil || s.settle(b.Program) != nil {
					t.Error(err)
				}
				if _, err := os.Stat(s.versions(incoming)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("what is there already lies beside it once more: %v", err)
				}
				return
			}
			if !appliance.IsProblem(err, test.want) || appliance.ExitCode(err) != test.code {
				t.Errorf("got %+v, %v (code %d)", b, err, appliance.ExitCode(err))
			}
			if _, err := os.Stat(s.versions(incoming)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what was refused is still there: %v", err)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	current := Build{"1.2.0", "1.2.0-aaaaaaaa"}
	l := Ledger{Bad: map[string]Bad{"1.3.0-bbbbbbbb": {Version: "1.3.0", Reason: reason("self.reason.starts"), At: time.Now()}}}
	cases := []struct {
		name  string
		build Build
		force Force
		want  string
	}{
		{"newer", Build{"1.10.0", "1.10.0-cccccccc"}, Force{}, ""},
		{"the very same", current, Force{Bad: true, Older: true}, "self.same"},
		{"the same version built anew", Build{"1.2.0", "1.2.0-dddddddd"}, Force{}, ""},
		{"older", Build{"1.1.9", "1.1.9-eeeeeeee"}, Force{Bad: true}, "self.older"},
		{"older, insisted on", Build{"1.1.9", "1.1.9-eeeeeeee"}, Force{Older: true}, ""},
		{"a candidate of what runs", Build{"1.2.0-rc1", "1.2.0-rc1-ffffffff"}, Force{}, "self.older"},
		{"bad", Build{"1.3.0", "1.3.0-bbbbbbbb"}, Force{Older: true}, "self.bad"},
		{"bad, insisted on", Build{"1.3.0", "1.3.0-bbbbbbbb"}, Force{Bad: true}, ""},
		{"a bad version mended", Build{"1.3.0", "1.3.0-99999999"}, Force{}, ""},
	}
	for _, test := range cases {
		err := admit(test.build, current, l, test.force)
		if test.want == "" && err != nil || test.want != "" && !appliance.IsProblem(err, test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	var bad *appliance.Error
	if err := admit(Build{"1.3.0", "1.3.0-bbbbbbbb"}, current, l, Force{}); !errors.As(err, &bad) || len(bad.Places) != 1 || bad.Places[0].ID != "self.reason.starts" {
		t.Errorf("the reason is not told: %v", err)
	}
}

func TestVigil(t *testing.T) {
	const well, ill = true, false
	type look struct {
		at   time.Duration
		well bool
	}
	cases := []struct {
		name  string
		looks []look
		want  verdict
	}{
		{"just well", []look{{0, well}}, open},
		{"well for a minute", []look{{0, well}, {time.Minute, well}}, proven},
		{"a break in between", []look{{0, well}, {30 * time.Second, ill}, {50 * time.Second, well}, {80 * time.Second, well}}, open},
		{"a late start", []look{{0, ill}, {299 * time.Second, ill}, {299 * time.Second, well}, {359 * time.Second, well}}, proven},
		{"never well", []look{{0, ill}, {5 * time.Minute, ill}}, hopeless},
		{"ill for long after it was well", []look{{0, well}, {30 * time.Second, well}, {4 * time.Minute, ill}, {331 * time.Second, ill}}, hopeless},
		{"now and then", []look{{0, ill}, {4 * time.Minute, well}, {8 * time.Minute, well}}, proven},
		{"never for long", []look{{4 * time.Minute, well}, {4*time.Minute + 1, ill}, {8 * time.Minute, well}, {9 * time.Minute, ill}, {13 * time.Minute, well},
			{14 * time.Minute, ill}, {18 * time.Minute, well}, {19 * time.Minute, ill}, {20 * time.Minute, ill}}, hopeless},
	}
	start := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	for _, test := range cases {
		v, got := vigil{began: start}, open
		for _, l := range test.looks {
			if got != open {
				break
			}
			got = v.see(start.Add(l.at), l.well)
		}
		if got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestPruneKeepsTheLastTwo: a box that is updated often does not fill its disk.
func TestPruneKeepsTheLastTwo(t *testing.T) {
	m := newTwin(t)
	s := m.self
	var l Ledger
	list := []string{"1.0.0-00000000", "1.1.0-11111111", "1.2.0-22222222", "1.3.0-33333333"}
	for i, p := range list {
		if err := os.MkdirAll(s.versions(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			l.Past = append(l.Past, SelfChange{From: buildOf(list[i-1]), To: buildOf(p), Outcome: Proven})
		}
	}
	l.Past = append(l.Past, SelfChange{From: buildOf("1.3.0-33333333"), To: buildOf("1.4.0-44444444"), Outcome: PutBack})
	leftover := s.versions(".1.4.0-44444444.rochdale-tmp-old")
	if err := errors.Join(os.MkdirAll(leftover, 0o755), s.pointUnits("1.3.0-33333333"), s.prune(&l)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.versions())
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); err != nil || got != "1.1.0-11111111 1.2.0-22222222 1.3.0-33333333 incoming" {
		t.Errorf("there are %s, %v", got, err)
	}
}
