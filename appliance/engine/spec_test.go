// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"rochdale/appliance"
	"rochdale/stacks"
)

var update = flag.Bool("update", false, "write the golden files")

func fullSpec() appliance.ContainerSpec {
	return appliance.ContainerSpec{
		Stack: "delivery", User: 65532, Digest: "sha256:d1", Generation: 7, Image: "rochdale.invalid/coop:0123456789abcdef",
		Suffix: "abc123", Probe: appliance.Probe{Port: 8080, Path: "/healthz"},
		Volumes: map[string]string{"data": "/var/lib/rochdale/stacks/delivery/data/7/data", "assets": "/var/lib/rochdale/stacks/delivery/data/7/assets"},
		Env:     map[string]string{"BASE_URL": "https://rides.example", "ZONE": "Europe/Madrid"},
		Secrets: map[string]string{"session-key": "/etc/rochdale/delivery.session-key"},
		Service: stacks.Service{
			Name: "coop", Image: "coop", Command: []string{"serve"}, Entrypoint: []string{"/coop"},
			Env:    map[string]string{"ZONE": "UTC", "ADDRESS": ":8080"},
			Mounts: []stacks.Mount{{Volume: "data", Target: "/data"}, {Volume: "assets", Target: "/assets", ReadOnly: true}},
			Tmpfs:  []stacks.Tmpfs{{Target: "/tmp", Size: 16 << 20}},
			Memory: 128 << 20, CPUs: 4, PIDs: 128, StopGrace: 20 * time.Second, StopSignal: "SIGQUIT",
			Health: &stacks.Health{Test: []string{"/coop", "healthy"}, Interval: 30 * time.Second, Timeout: 3 * time.Second, StartPeriod: 10 * time.Second, Retries: 3},
		},
	}
}

// TestHardened holds everything that locks a container in, and the network that
// it is in, against a golden file.
func TestHardened(t *testing.T) {
	r, err := cook(fullSpec(), 2)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	name := ContainerName("delivery", "coop", "abc123")
	if err := e.Encode(map[string]any{"name": name, "container": r, "network": NetworkName("delivery"), "bridge": bridge("delivery")}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "hardened.golden.json")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s differs (-update writes it):\n%s", path, b.String())
	}
	for _, never := range []string{"docker.sock", `"Privileged": true`, `"NetworkMode": "host"`, `"PublishAllPorts": true`} {
		if strings.Contains(b.String(), never) {
			t.Errorf("the recipe has %s", never)
		}
	}
	if r.Host.PortBindings != nil || r.Config.ExposedPorts != nil || r.Host.Devices != nil || r.Host.CapAdd != nil || r.Host.Binds != nil {
		t.Errorf("the recipe opens the cage: %+v", r.Host)
	}
}

// TestOnceIsNotFound: what ends by itself has the cage of its service and neither its
// names nor its tests; nobody may take it for the service.
func TestOnceIsNotFound(t *testing.T) {
	s := fullSpec()
	usual, err := cook(s, 2)
	if err != nil {
		t.Fatal(err)
	}
	s.Once = true
	longest := s
	longest.Service.Name = strings.Repeat("a", 31) + "_migrate"
	if _, err := cook(longest, 2); err != nil {
		t.Error(err)
	}
	once, err := cook(s, 2)
	if err != nil {
		t.Fatal(err)
	}
	if n := once.Network.EndpointsConfig[NetworkName("delivery")]; n == nil || n.Aliases != nil || once.Config.Hostname != "" {
		t.Errorf("it is found: %+v, host name %q", n, once.Config.Hostname)
	}
	if !slices.Equal(once.Config.Healthcheck.Test, []string{"NONE"}) || once.Config.Labels[labelProbe] != "" {
		t.Errorf("it is tested: %+v, %v", once.Config.Healthcheck, once.Config.Labels)
	}
	once.Network, once.Config.Hostname, once.Config.Healthcheck, once.Config.Labels = usual.Network, usual.Config.Hostname, usual.Config.Healthcheck, usual.Config.Labels
	if !reflect.DeepEqual(once, usual) {
		t.Errorf("it has another cage: %+v, not %+v", once, usual)
	}
}

func TestHashTellsRecipesApart(t *testing.T) {
	hash := func(change func(*appliance.ContainerSpec)) string {
		s := fullSpec()
		change(&s)
		r, err := cook(s, 2)
		if err != nil {
			t.Fatal(err)
		}
		return r.Config.Labels[labelSpec]
	}
	first := hash(func(*appliance.ContainerSpec) {})
	if again := hash(func(*appliance.ContainerSpec) {}); again != first {
		t.Errorf("the same recipe is %s and %s", first, again)
	}
	for name, change := range map[string]func(*appliance.ContainerSpec){
		"image":      func(s *appliance.ContainerSpec) { s.Image = "other" },
		"generation": func(s *appliance.ContainerSpec) { s.Generation++ },
		"memory":     func(s *appliance.ContainerSpec) { s.Service.Memory++ },
		"signal":     func(s *appliance.ContainerSpec) { s.Service.StopSignal = "" },
		"setting":    func(s *appliance.ContainerSpec) { s.Env["BASE_URL"] = "https://other.example" },
		"secret":     func(s *appliance.ContainerSpec) { s.Secrets["more"] = "/etc/rochdale/more" },
	} {
		if hash(change) == first {
			t.Errorf("another %s gives the same hash", name)
		}
	}
}

func TestNames(t *testing.T) {
	if n := BridgeName(strings.Repeat("a", 32)); len(n) > 15 {
		t.Errorf("the interface %q is longer than the kernel takes", n)
	}
	if BridgeName("a") == BridgeName("b") {
		t.Error("two stacks have one bridge")
	}
	img := appliance.Image{Name: "ghcr.io/Some/Thing:1.2@x", ConfigDigest: "sha256:c", DiffIDs: []string{"sha256:l"}}
	if ref := imageRef(img); !strings.HasPrefix(ref, "rochdale.invalid/ghcr-io-some-thing-1-2-x:") {
		t.Errorf("reference %q", ref)
	}
	other := img
	other.DiffIDs = []string{"sha256:m"}
	if imageRef(img) == imageRef(other) {
		t.Error("two images have one reference")
	}
	if ref := imageRef(appliance.Image{Name: "É"}); !strings.HasPrefix(ref, repository+"image:") {
		t.Errorf("reference %q", ref)
	}
	for _, p := range []appliance.Probe{{Port: 80, Path: "/"}, {Port: 8080, Path: "/a/b?c=d"}} {
		if got, err := parseProbe(probeLabel(p)); err != nil || got != p {
			t.Errorf("probe %v became %v, %v", p, got, err)
		}
	}
	for _, bad := range []string{"x/", "", "0/", "70000/"} {
		if _, err := parseProbe(bad); err == nil {
			t.Errorf("probe %q was taken", bad)
		}
	}
}

func TestHeld(t *testing.T) {
	for name, c := range map[string]struct {
		stats container.MemoryStats
		want  int64
	}{
		"cgroup v1":      {container.MemoryStats{Usage: 100, Stats: map[string]uint64{"total_inactive_file": 30, "inactive_file": 5}}, 70},
		"cgroup v2":      {container.MemoryStats{Usage: 100, Stats: map[string]uint64{"inactive_file": 40}}, 60},
		"no details":     {container.MemoryStats{Usage: 100}, 100},
		"cache is newer": {container.MemoryStats{Usage: 10, Stats: map[string]uint64{"inactive_file": 40}}, 0},
	} {
		if got := held(c.stats); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestLoadedNames(t *testing.T) {
	names, err := loadedNames(strings.NewReader(`{"status":"Loading layer"}
{"stream":"Loaded image: a/b:1\nLoaded image ID: sha256:00\n"}
{"stream":"The image was renamed: x\n"}`))
	if err != nil || strings.Join(names, " ") != "a/b:1 sha256:00" {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := loadedNames(strings.NewReader(`{"error":"no space left on device"}`)); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("error %v", err)
	}
	if _, err := loadedNames(strings.NewReader("<html>")); err == nil {
		t.Error("took what is no answer")
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[2Jb\x00é\tc", 100); got != "a[2Jbé\tc" {
		t.Errorf("%q", got)
	}
	if got := printable(strings.Repeat("é", 10), 5); got != "éé..." {
		t.Errorf("%q", got)
	}
}

func TestHeadIsBounded(t *testing.T) {
	var h head
	n, err := h.Write(make([]byte, maxOutput+1))
	if n != maxOutput || err == nil || h.Len() != maxOutput {
		t.Errorf("%d bytes kept, %v", n, err)
	}
}

func TestCrashes(t *testing.T) {
	var c crashes
	now := time.Now()
	x := appliance.Container{ID: "1", Stack: "s", Service: "web"}
	end := func(x appliance.Container, ago time.Duration) appliance.Container {
		x.Finished = now.Add(-ago)
		return x
	}
	c.note(x, now)                      // runs
	c.note(end(x, time.Minute), now)    // ended
	c.note(end(x, time.Minute), now)    // the same end, seen again
	c.note(end(x, 2*time.Minute), now)  // an earlier end of the same container
	c.note(end(x, 11*time.Minute), now) // too long ago
	other := x
	other.ID, other.Service = "2", "db"
	c.note(end(other, time.Minute), now)
	asked := x
	asked.ID = "3"
	c.ask("3")
	c.note(end(asked, time.Minute), now)
	if n := c.count(x, now); n != 2 {
		t.Errorf("%d crashes, want 2", n)
	}
	c.forget("3") // started again
	c.note(end(asked, 30*time.Second), now)
	if n := c.count(x, now); n != 3 {
		t.Errorf("%d crashes, want 3", n)
	}
	if n := c.count(x, now.Add(9*time.Minute+15*time.Second)); n != 1 {
		t.Errorf("%d crashes after nine minutes, want 1", n)
	}
	if n := c.count(x, now.Add(time.Hour)); n != 0 {
		t.Errorf("%d crashes after an hour", n)
	}
}
