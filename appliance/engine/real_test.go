// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"rochdale/appliance"
	"rochdale/appliance/engine"
	"rochdale/stacks"
)

// These tests need a Docker of their own: they run inside a test machine.

func realEngine(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Socket)
	must(t, err)
	must(t, e.Ping(t.Context()))
	return e
}

func dockerClient(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.NewClientWithOpts(client.WithHost("unix://"+engine.Socket), client.WithAPIVersionNegotiation())
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func TestRealErrors(t *testing.T) { errorContract(t, realEngine(t)) }

func TestRealInfo(t *testing.T) {
	info, err := realEngine(t).Info(t.Context())
	must(t, err)
	t.Logf("%+v", info)
	if info.Version == "" || info.API == "" || !info.LiveRestore || !info.MemoryLimit || info.CPUs == 0 {
		t.Errorf("info %+v", info)
	}
}

// TestRealCage asks a container about its own cage.
func TestRealCage(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "cage", "serve")
	s.Probe = appliance.Probe{Port: 8080, Path: "/healthz"}
	s.Service.CPUs = 64 // more than the machine has
	s.Service.Env = map[string]string{"A": "service", "B": "service"}
	s.Env = map[string]string{"B": "box"}
	s.Service.Tmpfs = []stacks.Tmpfs{{Target: "/tmp", Size: 1 << 20}}
	data, conf, secret := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(secret, []byte("sesame"), 0o600))
	for _, path := range []string{data, conf, secret} {
		must(t, os.Chown(path, s.User, s.User))
	}
	s.Service.Mounts = []stacks.Mount{{Volume: "data", Target: "/data"}, {Volume: "conf", Target: "/conf", ReadOnly: true}}
	s.Volumes = map[string]string{"data": data, "conf": conf}
	s.Secrets = map[string]string{"key": secret}
	c, err := e.Start(t.Context(), s)
	must(t, err)
	must(t, e.WaitHealthy(t.Context(), c.ID))
	c = only(t, e, "cage")
	if c.Address == "" || c.Generation != 3 || c.Digest != s.Digest || c.Health != "none" || !c.Running() || c.Memory != 64<<20 || c.Crashes != 0 {
		t.Errorf("container %+v", c)
	}
	net, err := e.Network(t.Context(), "cage")
	must(t, err)
	if at, err := netip.ParseAddr(c.Address); err != nil || !net.Subnet.Contains(at) || !net.Subnet.Contains(net.Gateway) || at == net.Gateway {
		t.Errorf("address %s in network %+v (%v)", c.Address, net, err)
	}
	var f facts
	must(t, json.Unmarshal(get(t, c, "/facts"), &f))
	for what, ok := range map[string]bool{
		"user":                   f.UID == 65532 && f.GID == 65532,
		"no groups":              f.Status["Groups"] == "" || f.Status["Groups"] == "65532",
		"no capabilities":        zero(f.Status["CapEff"]) && zero(f.Status["CapPrm"]) && zero(f.Status["CapBnd"]) && zero(f.Status["CapInh"]) && zero(f.Status["CapAmb"]),
		"no new privileges":      f.Status["NoNewPrivs"] == "1",
		"system call filter":     f.Status["Seccomp"] == "2",
		"root is read only":      strings.Contains(f.RootWrite, "read-only"),
		"tmpfs writable":         f.TmpWrite == "",
		"tmpfs not executable":   strings.Contains(f.TmpExec, "permission denied"),
		"volume writable":        f.DataWrite == "",
		"read-only volume":       strings.Contains(f.ConfWrite, "read-only"),
		"secret readable":        f.Secret == "sesame",
		"secret not writable":    strings.Contains(f.SecretOpen, "read-only"),
		"the box's settings win": f.Env["A"] == "service" && f.Env["B"] == "box",
		"host name":              f.Hostname == "web",
		"ends before others":     f.OOMScore == "300",
		"no core files":          f.CoreLimit == 0,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, f)
		}
	}
	info, err := os.Stat(filepath.Join(data, "file"))
	must(t, err)
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 65532 || owner.Gid != 65532 {
		t.Errorf("the file in the volume belongs to %d:%d", owner.Uid, owner.Gid)
	}
}

func zero(mask string) bool { return mask != "" && strings.Trim(mask, "0") == "" }

func TestRealStartIsIdempotent(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "again", "serve")
	s.Probe = appliance.Probe{Port: 8080, Path: "/healthz"}
	first, err := e.Start(t.Context(), s)
	must(t, err)
	second, err := e.Start(t.Context(), s)
	must(t, err)
	if first.ID != second.ID || first.Started != second.Started {
		t.Errorf("started twice: %+v and %+v", first, second)
	}
	must(t, e.WaitHealthy(t.Context(), first.ID))
	must(t, e.Stop(t.Context(), first.ID, 5*time.Second))
	stopped := only(t, e, "again")
	if stopped.State != "exited" || stopped.ExitCode != 0 || stopped.Crashes != 0 {
		t.Errorf("after stop: %+v", stopped)
	}
	third, err := e.Start(t.Context(), s)
	must(t, err)
	if third.ID != first.ID || !third.Running() {
		t.Errorf("not the same container started again: %+v", third)
	}
	s.Env = map[string]string{"NEW": "1"}
	fourth, err := e.Start(t.Context(), s)
	must(t, err)
	if fourth.ID == first.ID || only(t, e, "again").ID != fourth.ID {
		t.Error("another specification under the same name did not replace the container")
	}
}

func TestRealForeignNames(t *testing.T) {
	e, docker := realEngine(t), dockerClient(t)
	s := newSpec(t, e, "foreign", "serve")
	name := engine.ContainerName("foreign", "web", s.Suffix)
	made, err := docker.ContainerCreate(t.Context(), &container.Config{Image: s.Image}, nil, nil, nil, name)
	must(t, err)
	t.Cleanup(func() {
		must(t, docker.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true}))
	})
	_, err = e.Start(t.Context(), s)
	wantProblem(t, err, "engine.name-taken")
	other, err := docker.NetworkCreate(t.Context(), engine.NetworkName("taken"), network.CreateOptions{})
	must(t, err)
	t.Cleanup(func() { must(t, docker.NetworkRemove(context.WithoutCancel(t.Context()), other.ID)) })
	wantProblem(t, e.EnsureNetwork(t.Context(), "taken"), "engine.network-taken")
	wantProblem(t, e.RemoveNetwork(t.Context(), "taken"), "engine.network-taken")
	must(t, e.EnsureNetwork(t.Context(), "foreign"))
	pruned, err := e.Prune(t.Context(), appliance.Keep{})
	must(t, err)
	for _, id := range pruned.Containers {
		if id == made.ID {
			t.Error("a foreign container was removed")
		}
	}
	_, err = docker.ContainerInspect(t.Context(), made.ID)
	must(t, err)
}

func started(t *testing.T, e *engine.Engine, s appliance.ContainerSpec) appliance.Container {
	t.Helper()
	s.Probe = appliance.Probe{Port: 8080, Path: "/healthz"}
	c, err := e.Start(t.Context(), s)
	must(t, err)
	must(t, e.WaitHealthy(t.Context(), c.ID))
	return c
}

func only(t *testing.T, e *engine.Engine, stack string) appliance.Container {
	t.Helper()
	list, err := e.List(t.Context(), stack)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("containers of %s: %+v", stack, list)
	}
	return list[0]
}

func logs(t *testing.T, e *engine.Engine, id string, o appliance.LogOptions) string {
	t.Helper()
	var b bytes.Buffer
	must(t, e.Logs(t.Context(), id, o, &b))
	return b.String()
}

func get(t *testing.T, c appliance.Container, path string) []byte {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s:8080%s", c.Address, path))
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return body
}
