// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package testhost

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// guest builds the static program of testdata/guest for an architecture.
func guest(t *testing.T, arch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./testdata/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return path
}

func aptCache(t *testing.T, ctx context.Context) *AptCache {
	t.Helper()
	c, err := StartAptCache(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// timed runs a command in the machine and logs how long it took.
func timed(t *testing.T, ctx context.Context, m Host, args ...string) {
	t.Helper()
	begin := time.Now()
	out(t, ctx, m, args...)
	t.Logf("%s: %v", strings.Join(args, " "), time.Since(begin).Round(100*time.Millisecond))
}

func TestDockerRunsContainersWithLimits(t *testing.T) {
	eachSuite(t, func(t *testing.T, ctx context.Context, suite string) {
		m := boot(t, ctx, Options{Name: "dock", Suite: suite, AptCache: aptCache(t, ctx).URL})
		timed(t, ctx, m, "apt-get", "update", "-qq")
		packages := []string{"docker.io"}
		if suite == "trixie" {
			packages = append(packages, "docker-cli")
		}
		timed(t, ctx, m, append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"}, packages...)...)
		checkDocker(t, ctx, m, guest(t, "amd64"))
		reach(t, "http://"+m.IP.String()+":8080/")
		if err := m.Reboot(ctx); err != nil {
			t.Fatal(err)
		}
		if failed, err := m.Wait(ctx); err != nil || len(failed) > 0 {
			t.Errorf("after the reboot: %v, %v", failed, err)
		}
		reach(t, "http://"+m.IP.String()+":8080/")
	})
}

// checkDocker makes an image from a static program, runs it, shows that the memory limit bites, and leaves a web server running.
func checkDocker(t *testing.T, ctx context.Context, m Host, program string) {
	t.Helper()
	if err := m.CopyIn(ctx, program, "/root/guest", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Log(out(t, ctx, m, "docker", "info", "--format", "{{.ServerVersion}} {{.Driver}} cgroup v{{.CgroupVersion}} {{.SecurityOptions}}"))
	out(t, ctx, m, "sh", "-c", `tar -C /root -c guest | docker import -c 'ENTRYPOINT ["/guest"]' - guest:1`)
	timed(t, ctx, m, "docker", "run", "--rm", "-m", "64m", "guest:1")
	limit := []string{"docker", "run", "--rm", "-m", "64m", "--memory-swap", "64m", "guest:1", "take"}
	if got := out(t, ctx, m, append(limit, "16")...); got != "took 16" {
		t.Errorf("within the limit: %q", got)
	}
	r, err := m.Exec(ctx, Command{Args: append(limit, "256")})
	if err != nil || r.Code != 137 || strings.Contains(r.Stdout, "took") {
		t.Errorf("the memory limit does not bite: %+v, %v", r, err)
	}
	out(t, ctx, m, "docker", "run", "-d", "--restart", "always", "--name", "web", "-p", "8080:80", "-m", "64m", "guest:1", "serve", ":80")
}

// reach asks until there is an answer, since a published port may open a moment after the container.
func reach(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	var last error
	for range 100 {
		response, err := client.Get(url)
		if err != nil {
			last = err
			time.Sleep(100 * time.Millisecond)
			continue
		}
		text, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil || !strings.HasPrefix(string(text), "hello from ") {
			t.Errorf("%s: %q, %v", url, text, err)
		}
		return
	}
	t.Errorf("%s: %v", url, last)
}

func TestMachinesReachEachOther(t *testing.T) {
	ctx := ready(t)
	program := guest(t, "amd64")
	one, two := boot(t, ctx, Options{Name: "one"}), boot(t, ctx, Options{Name: "two", Suite: "trixie"})
	if err := one.CopyIn(ctx, program, "/root/guest", 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := one.Start(ctx, Command{Args: []string{"/root/guest", "serve", ":80"}, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	if err := two.AddHost(ctx, "first.example", one.IP.String()); err != nil {
		t.Fatal(err)
	}
	fetch := []string{"curl", "-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "http://first.example/"}
	if got := out(t, ctx, two, fetch...); got != "hello from one" {
		t.Errorf("two got %q", got)
	}
	client := &http.Client{Transport: Transport(map[string]string{"first.example": one.IP.String()}, nil), Timeout: 10 * time.Second}
	if _, err := client.Get("http://second.example/"); err == nil {
		t.Error("a name was found that no machine has")
	}
	response, err := client.Get("http://first.example/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	// Each machine has groups of its own: each sees its own services alone.
	if groups := out(t, ctx, two, "systemctl", "show", "-p", "ControlGroup", "--value", "dbus.service"); groups != "/system.slice/dbus.service" {
		t.Errorf("two's dbus is in %s", groups)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if code, err := server.Wait(); err != nil || code != 137 {
		t.Errorf("killed server: %d, %v", code, err)
	}
}

func TestMemoryOfTheWholeMachineIsLimited(t *testing.T) {
	ctx := ready(t)
	m := boot(t, ctx, Options{Name: "small", Memory: 128 << 20})
	if err := m.CopyIn(ctx, guest(t, "amd64"), "/root/guest", 0o755); err != nil {
		t.Fatal(err)
	}
	if r, err := m.Exec(ctx, Command{Args: []string{"/root/guest", "take", "512"}}); err != nil || r.Code != 137 {
		t.Errorf("a machine of 128 MB gave 512 MB: %+v, %v", r, err)
	}
	if got := out(t, ctx, m, "head", "-n", "1", "/proc/meminfo"); got != "MemTotal:         131072 kB" {
		t.Errorf("meminfo: %s", got)
	}
	if err := m.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if got := out(t, ctx, m, "free", "--mega"); !strings.Contains(got, "134") {
		t.Errorf("after a reboot: %s", got)
	}
	if got := out(t, ctx, m, "/root/guest", "take", "16"); got != "took 16" {
		t.Errorf("16 MB: %q", got)
	}
}

func TestSavedIsMadeOnce(t *testing.T) {
	ctx := ready(t)
	t.Setenv("ROCHDALE_TEST_CACHE", cacheFor(t, ctx))
	made := 0
	for range 2 {
		path, err := Saved(ctx, "with-file", Options{Name: "source"}, func(m *Machine) error {
			made++
			return m.WriteFile(ctx, "/root/prepared", []byte("yes"), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		m := boot(t, ctx, Options{Name: "copy", From: path})
		if got := out(t, ctx, m, "cat", "/root/prepared"); got != "yes" {
			t.Errorf("the copy says %q", got)
		}
	}
	if made != 1 {
		t.Errorf("prepared %d times", made)
	}
}

// cacheFor is a cache folder of the test's own that shares the real one's base root.
func cacheFor(t *testing.T, ctx context.Context) string {
	t.Helper()
	base, err := Base(ctx, "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "base"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(ctx, base, filepath.Join(dir, "base", filepath.Base(base))); err != nil {
		t.Fatal(err)
	}
	return dir
}
