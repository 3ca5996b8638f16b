// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestMirrorsFollowTheBuildMachine(t *testing.T) {
	const deb822 = `Types: deb
# a comment
URIs: https://mirror.example/debian/
Suites: bookworm
 bookworm-updates
Components: main

Types: deb
URIs: file:/srv/security http://security.example/debian-security
Suites: bookworm-security

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: trixie

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
`
	const oneLine = `deb-src http://source.example/debian trixie main
deb [signed-by=/usr/share/keyrings/x.gpg arch=amd64] http://one.example/debian trixie main contrib # comment
deb http://vendor.example/apt stable main
`
	entries := append(parseDeb822(deb822), parseOneLine(oneLine)...)
	for _, c := range []struct {
		codename string
		want     mirrors
	}{
		{"bookworm", mirrors{"https://mirror.example/debian", "http://security.example/debian-security"}},
		{"trixie", mirrors{"http://one.example/debian", ""}},
		{"forky", mirrors{}},
		{"", mirrors{}},
	} {
		if got := chooseMirrors(entries, c.codename); got != c.want {
			t.Errorf("%s: %v", c.codename, got)
		}
	}
	want := "deb http://a bookworm main\ndeb http://a bookworm-updates main\ndeb http://s bookworm-security main\n"
	if got := (mirrors{"http://a", "http://s"}).sourcesList("bookworm"); got != want {
		t.Errorf("sources.list:\n%s", got)
	}
}

func TestDebianCodename(t *testing.T) {
	for file, want := range map[string]string{
		"ID=debian\nVERSION_CODENAME=bookworm\n":                 "bookworm",
		"VERSION_CODENAME=\"trixie\"\nID=\"debian\"\n":           "trixie",
		"ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n":    "",
		"ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=bookworm": "",
		"": "",
	} {
		if got := debianCodename(file); got != want {
			t.Errorf("%q: %q", file, got)
		}
	}
}

func TestAcceptRulesOnlyWhereTheHostFilters(t *testing.T) {
	const open = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"
	for _, c := range []struct {
		name, listing string
		chains        []string
	}{
		{"open", open, nil},
		{"our own rules only", open + `-A INPUT -i rt0 -m comment --comment rochdale-test -j ACCEPT` + "\n", nil},
		{"forward dropped", strings.Replace(open, "FORWARD ACCEPT", "FORWARD DROP", 1), []string{"FORWARD", "FORWARD"}},
		{"a rule of somebody else", open + "-A FORWARD -j OTHER\n", []string{"FORWARD", "FORWARD"}},
		{"input dropped", strings.Replace(open, "INPUT ACCEPT", "INPUT DROP", 1), []string{"INPUT"}},
	} {
		var chains []string
		for _, rule := range acceptRules(c.listing) {
			chains = append(chains, rule[1])
		}
		if !slices.Equal(chains, c.chains) {
			t.Errorf("%s: %v", c.name, chains)
		}
	}
}

func TestGroupsOfAMachine(t *testing.T) {
	const hybrid = `9:name=systemd:/rochdale-test/rt10/payload/init.scope
4:memory:/rochdale-test/rt10
1:cpu,cpuacct:/rochdale-test/rt10
0::/rochdale-test/rt10/payload/init.scope
`
	want := []string{"/sys/fs/cgroup/systemd/rochdale-test/rt10/payload/testhost", "/sys/fs/cgroup/memory/rochdale-test/rt10",
		"/sys/fs/cgroup/cpu,cpuacct/rochdale-test/rt10", "/sys/fs/cgroup/unified/rochdale-test/rt10/payload/testhost"}
	if got := parseGroups(hybrid, false); !slices.Equal(got, want) {
		t.Errorf("hybrid: %q", got)
	}
	want = []string{"/sys/fs/cgroup/rochdale-test/rt10/payload/testhost"}
	if got := parseGroups("0::/rochdale-test/rt10/payload/init.scope\n", true); !slices.Equal(got, want) {
		t.Errorf("unified: %q", got)
	}
	if got := parseGroups("0::/user.slice\nnonsense\n", true); got != nil {
		t.Errorf("foreign groups: %q", got)
	}
}

func TestIsInit(t *testing.T) {
	for _, c := range []struct {
		status string
		want   bool
	}{
		{"Name:\tsystemd\nNSpid:\t4711\t1\n", true},
		{"Name:\t(sd-stubinit)\nNSpid:\t4711\t1\n", false},
		{"Name:\tsystemd\nNSpid:\t1\n", false},
		{"Name:\tsystemd\nNSpid:\t4711\t7\n", false},
		{"", false},
	} {
		if got := isInit(c.status); got != c.want {
			t.Errorf("%q: %v", c.status, got)
		}
	}
}

func TestMountsBelow(t *testing.T) {
	const info = `22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:5 / /m/rt10 rw - tmpfs t rw
31 22 0:5 / /m/rt10/root/with\040space rw - tmpfs t rw
32 22 0:5 / /m/rt100 rw - tmpfs t rw
short
`
	want := []string{"/m/rt10/root/with space", "/m/rt10"}
	if got := parseMounts(info, "/m/rt10"); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestNamesResolveToMachinesOnly(t *testing.T) {
	hosts := map[string]string{"rides.example": "10.77.0.10", "arm.example": "127.0.0.1:8443"}
	for address, want := range map[string]string{
		"rides.example:443": "10.77.0.10:443",
		"Rides.Example:80":  "10.77.0.10:80",
		"arm.example:443":   "127.0.0.1:8443",
		"10.77.0.10:80":     "10.77.0.10:80",
		"127.0.0.1:80":      "127.0.0.1:80",
		"other.example:443": "",
		"192.0.2.1:80":      "",
		"no-port":           "",
	} {
		got, err := resolve(hosts, address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", address, got, err)
		}
	}
}

func TestNameservers(t *testing.T) {
	got := nameservers("# x\nsearch a\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver\nnameserver 8.8.8.8\n")
	if len(got) != 2 || got[0].String() != "192.0.2.53" || got[1].String() != "8.8.8.8" {
		t.Errorf("%v", got)
	}
}

func TestRecipeKeyChangesWithItsParts(t *testing.T) {
	seen := map[string]string{}
	change := map[string]func(*recipe){
		"as it is": func(*recipe) {},
		"suite":    func(r *recipe) { r.Suite = "trixie" },
		"arch":     func(r *recipe) { r.Arch = "arm64" },
		"packages": func(r *recipe) { r.Packages = append(r.Packages, "sudo") },
		"files":    func(r *recipe) { r.Files["etc/x"] = "y" },
		"units":    func(r *recipe) { r.Enable = nil },
		"masks":    func(r *recipe) { r.Mask = []string{"x.timer"} },
	}
	for name, f := range change {
		r := baseRecipe("bookworm")
		f(&r)
		if other, ok := seen[r.key()]; ok {
			t.Errorf("%s and %s have the same key", name, other)
		}
		seen[r.key()] = name
	}
	if a, b := baseRecipe("bookworm"), baseRecipe("bookworm"); a.key() != b.key() {
		t.Error("the key is not stable")
	}
}

func TestCachedIsBuiltOnceAndWhole(t *testing.T) {
	t.Setenv("ROCHDALE_TEST_CACHE", t.TempDir())
	fails := func(part string) error {
		return errors.Join(os.MkdirAll(part, 0o755), errors.New("half way"))
	}
	if _, err := cached(t.Context(), "base/x", fails); err == nil || exists(filepath.Join(CacheDir(), "base/x")) {
		t.Errorf("a failed build left something: %v", err)
	}
	var built atomic.Int32
	done := make(chan error)
	for range 8 {
		go func() {
			_, err := cached(t.Context(), "base/x", func(part string) error {
				built.Add(1)
				return os.MkdirAll(part, 0o755)
			})
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if built.Load() != 1 {
		t.Errorf("built %d times", built.Load())
	}
}

func TestLockWaitsAndGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "lock")
	err := withLock(t.Context(), path, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
		defer cancel()
		return withLock(ctx, path, func() error { return nil })
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock was taken twice: %v", err)
	}
	if err := withLock(t.Context(), path, func() error { return nil }); err != nil {
		t.Errorf("a lock that was given back: %v", err)
	}
}

func TestWriteInStaysInTheRoot(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := writeIn(root, "/etc/passwd", []byte("x"), 0o644); err == nil || exists(filepath.Join(outside, "passwd")) {
		t.Errorf("a link led out of the root: %v", err)
	}
	// A link in the place of the file is replaced, not followed.
	if err := os.Symlink(filepath.Join(outside, "target"), filepath.Join(root, "resolv.conf")); err != nil {
		t.Fatal(err)
	}
	if err := writeIn(root, "resolv.conf", []byte("x"), 0o640); err != nil || exists(filepath.Join(outside, "target")) {
		t.Errorf("a link was followed: %v", err)
	}
	if info, err := os.Lstat(filepath.Join(root, "resolv.conf")); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestCommandLines(t *testing.T) {
	got := strings.Join(enterArgs(4711, Command{Args: []string{"prog", "a b"}, Env: []string{"K=v"}, Dir: "/srv"}), "|")
	want := "nsenter|-t|4711|-a|--|env|-i|-C|/srv|PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|HOME=/root|USER=root|LOGNAME=root|LC_ALL=C.UTF-8|K=v|prog|a b"
	if got != want {
		t.Errorf("%s", got)
	}
	args := (&Machine{Dir: "/m/rt10/root", memory: 1 << 30, lease: lease{Name: "rt10", Dir: "/m/rt10"}}).nspawnArgs()
	for _, need := range []string{"--machine=rt10", "--network-bridge=rt0", "--register=no", "--keep-unit", "-b", "--bind-ro=/m/rt10/meminfo:/run/testhost-meminfo"} {
		if !slices.Contains(args, need) {
			t.Errorf("no %s in %q", need, args)
		}
	}
}

func TestCappedKeepsTheBeginning(t *testing.T) {
	c := &capped{limit: 5}
	for range 3 {
		if n, err := c.Write([]byte("abc")); n != 3 || err != nil {
			t.Fatal(n, err)
		}
	}
	if c.String() != "abcab" || c.lost != 4 {
		t.Errorf("%q, %d lost", c.String(), c.lost)
	}
}

func TestHostNames(t *testing.T) {
	for name, good := range map[string]bool{"": true, "box": true, "box-2": true, "../x": false, "Box": false, "a b": false, "-a": false, "a.b": false} {
		if err := (&Options{Name: name}).defaults(); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestMeminfoAgreesWithTheLimit(t *testing.T) {
	const before = "MemTotal:       24000000 kB\nMemFree:         100 kB\nMemAvailable: 20000000 kB\nSwapTotal:       5 kB\nHugePages_Total:       0\n"
	const want = "MemTotal:         524288 kB\nMemFree:             100 kB\nMemAvailable:     524288 kB\nSwapTotal:             0 kB\nHugePages_Total:       0\n"
	if got := scaleMeminfo(before, 512<<10); got != want {
		t.Errorf("\n%s", got)
	}
}
