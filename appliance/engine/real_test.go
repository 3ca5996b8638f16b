// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	t.Logf("file in the volume: %v", info.Sys())
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
		must(t, docker.ContainerRemove(context.Background(), made.ID, container.RemoveOptions{Force: true}))
	})
	_, err = e.Start(t.Context(), s)
	wantProblem(t, err, "engine.name-taken")
	other, err := docker.NetworkCreate(t.Context(), engine.NetworkName("taken"), network.CreateOptions{})
	must(t, err)
	t.Cleanup(func() { must(t, docker.NetworkRemove(context.Background(), other.ID)) })
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

func TestRealHealthGate(t *testing.T) {
	e := realEngine(t)
	health := &stacks.Health{
		Test:     []string{"CMD", "/service", "as-service", "fetch", "http://127.0.0.1:8080/healthz"},
		Interval: 10 * time.Minute, Timeout: 5 * time.Second, Retries: 3,
	}
	t.Run("own test, sooner than the engine's first", func(t *testing.T) {
		s := newSpec(t, e, "gate-own", "serve")
		s.Service.Health = health
		c, err := e.Start(t.Context(), s)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		must(t, e.WaitHealthy(ctx, c.ID))
	})
	t.Run("the engine says unhealthy", func(t *testing.T) {
		s := newSpec(t, e, "gate-sick", "deaf")
		sick := *health
		sick.Interval, sick.Retries = time.Second, 1
		s.Service.Health = &sick
		c, err := e.Start(t.Context(), s)
		must(t, err)
		err = e.WaitHealthy(t.Context(), c.ID)
		wantProblem(t, err, "engine.unhealthy")
		if p := problem(err); !strings.Contains(p.Args["log"], "I hear nothing") || !strings.Contains(p.Args["reason"], "refused") {
			t.Errorf("arguments %v", p.Args)
		}
	})
	t.Run("never answers the probe", func(t *testing.T) {
		s := newSpec(t, e, "gate-deaf", "deaf")
		s.Probe = appliance.Probe{Port: 8080, Path: "/healthz"}
		c, err := e.Start(t.Context(), s)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		wantProblem(t, e.WaitHealthy(ctx, c.ID), "engine.unhealthy")
	})
	t.Run("nothing to ask", func(t *testing.T) {
		c, err := e.Start(t.Context(), newSpec(t, e, "gate-none", "deaf"))
		must(t, err)
		must(t, e.WaitHealthy(t.Context(), c.ID))
	})
}

func TestRealMemoryLimitBites(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "hungry", "eat", "200")
	c, err := e.Start(t.Context(), s)
	must(t, err)
	err = e.WaitHealthy(t.Context(), c.ID)
	wantProblem(t, err, "engine.out-of-memory")
	t.Log(err)
	if p := problem(err); p.Args["code"] != "137" || p.Args["memory"] != "64" || !strings.Contains(p.Args["log"], "I am hungry") {
		t.Errorf("arguments %v", p.Args)
	}
	if c := only(t, e, "hungry"); !c.OOMKilled || c.ExitCode != 137 {
		t.Errorf("container %+v", c)
	}
}

func TestRealStats(t *testing.T) {
	e := realEngine(t)
	c := started(t, e, newSpec(t, e, "stats", "serve"))
	before, err := e.Stats(t.Context(), c.ID)
	must(t, err)
	get(t, c, "/eat?mb=30")
	after, err := e.Stats(t.Context(), c.ID)
	must(t, err)
	t.Logf("held %d bytes, then %d", before, after)
	if before <= 0 || after-before < 29<<20 || after > 64<<20 {
		t.Errorf("held %d bytes, then %d", before, after)
	}
}

func TestRealNetworksAreApart(t *testing.T) {
	e := realEngine(t)
	a := started(t, e, newSpec(t, e, "apart-a", "serve"))
	b := started(t, e, newSpec(t, e, "apart-b", "serve"))
	fetch := func(from appliance.Container, url string) error {
		_, err := e.Exec(t.Context(), from.ID, []string{"/service", "as-service", "fetch", url})
		return err
	}
	must(t, fetch(a, "http://web:8080/healthz")) // by its service's name
	must(t, fetch(b, "http://"+b.Address+":8080/healthz"))
	wantProblem(t, fetch(a, "http://"+b.Address+":8080/healthz"), "engine.program-failed")
	wantProblem(t, fetch(b, "http://"+a.Address+":8080/healthz"), "engine.program-failed")
	if _, err := os.Stat("/sys/class/net/" + engine.BridgeName("apart-a")); err != nil {
		t.Error(err)
	}
}

func TestRealStop(t *testing.T) {
	e := realEngine(t)
	c := started(t, e, newSpec(t, e, "stop", "serve"))
	must(t, e.Stop(t.Context(), c.ID, 30*time.Second))
	if c = only(t, e, "stop"); c.ExitCode != 0 {
		t.Errorf("not ended by SIGTERM: %+v", c)
	}
	if log := logs(t, e, c.ID, appliance.LogOptions{Tail: 1}); log != "goodbye\n" {
		t.Errorf("log %q", log)
	}
	must(t, e.Stop(t.Context(), c.ID, time.Second))
	deaf, err := e.Start(t.Context(), newSpec(t, e, "stop-deaf", "deaf"))
	must(t, err)
	must(t, e.Stop(t.Context(), deaf.ID, time.Second))
	if c = only(t, e, "stop-deaf"); c.ExitCode != 137 || c.OOMKilled {
		t.Errorf("not killed after its grace: %+v", c)
	}
	must(t, e.Remove(t.Context(), c.ID))
	must(t, e.Remove(t.Context(), c.ID))
}

func TestRealExec(t *testing.T) {
	e := realEngine(t)
	c := started(t, e, newSpec(t, e, "exec", "serve"))
	out, err := e.Exec(t.Context(), c.ID, []string{"/service", "as-service", "say", "hello", "there"})
	must(t, err)
	if out != "hello there\n" {
		t.Errorf("output %q", out)
	}
	_, err = e.Exec(t.Context(), c.ID, []string{"/service", "as-service", "exit", "5"})
	wantProblem(t, err, "engine.program-failed")
	if p := problem(err); p.Args["code"] != "5" || !strings.Contains(p.Args["detail"], "line 1") {
		t.Errorf("arguments %v", p.Args)
	}
	_, err = e.Exec(t.Context(), c.ID, []string{"/not-there"})
	if err == nil {
		t.Error("a program that is not there ran")
	}
	out, err = e.Exec(t.Context(), c.ID, []string{"/service", "as-service", "yell"})
	wantProblem(t, err, "engine.program-noisy")
	if len(out) > 64<<10 {
		t.Errorf("%d bytes of output", len(out))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err = e.Exec(ctx, c.ID, []string{"/service", "as-service", "deaf"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program without end: %v", err)
	}
}

func TestRealLogs(t *testing.T) {
	e := realEngine(t)
	c := started(t, e, newSpec(t, e, "logs", "serve"))
	var followed bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- e.Logs(t.Context(), c.ID, appliance.LogOptions{Follow: true}, &followed) }()
	must(t, e.Stop(t.Context(), c.ID, 10*time.Second))
	must(t, <-done)
	if followed.String() != "I listen\ngoodbye\n" {
		t.Errorf("followed %q", followed.String())
	}
	stamped := logs(t, e, c.ID, appliance.LogOptions{Timestamps: true})
	at, _, _ := strings.Cut(stamped, " ")
	listen, err := time.Parse(time.RFC3339Nano, at)
	must(t, err)
	if got := logs(t, e, c.ID, appliance.LogOptions{Since: listen.Add(time.Nanosecond)}); got != "goodbye\n" {
		t.Errorf("since its first line: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d, err := e.Start(t.Context(), newSpec(t, e, "logs-deaf", "deaf"))
	must(t, err)
	go func() {
		done <- e.Logs(ctx, d.ID, appliance.LogOptions{Follow: true}, signalWriter{cancel})
	}()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a reader that leaves: %v", err)
	}
}

// signalWriter tells of what is written to it.
type signalWriter struct{ tell func() }

func (s signalWriter) Write(p []byte) (int, error) {
	s.tell()
	return len(p), nil
}

func TestRealCrashLoopIsNoticed(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "loop", "exit", "1")
	for n := 1; n <= 3; n++ {
		c, err := e.Start(t.Context(), s)
		must(t, err)
		wantProblem(t, e.WaitHealthy(t.Context(), c.ID), "engine.ended")
		if c = only(t, e, "loop"); c.Crashes != n {
			t.Errorf("%d crashes counted after %d", c.Crashes, n)
		}
	}
	s.Suffix = appliance.NewSuffix() // a new container of the same service
	s.Service.Command = []string{"serve"}
	started(t, e, s)
	list, err := e.List(t.Context(), "loop")
	must(t, err)
	if len(list) != 2 || !list[0].Running() || list[0].Crashes != 3 {
		t.Errorf("newest first: %+v", list)
	}
}

func TestRealPrune(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "prune", "serve")
	running := started(t, e, s)
	s.Suffix = appliance.NewSuffix()
	ended := started(t, e, s)
	must(t, e.Stop(t.Context(), ended.ID, time.Second))
	s.Suffix = appliance.NewSuffix()
	kept := started(t, e, s)
	must(t, e.Stop(t.Context(), kept.ID, time.Second))
	unused, err := e.Load(t.Context(), testImage(t, "web", "two"))
	must(t, err)
	done, err := e.Prune(t.Context(), appliance.Keep{Containers: []string{kept.ID}})
	must(t, err)
	if len(done.Containers) != 1 || done.Containers[0] != ended.ID || len(done.Images) != 1 || done.Images[0] != unused {
		t.Errorf("removed %+v", done)
	}
	list, err := e.List(t.Context(), "prune")
	must(t, err)
	if len(list) != 2 {
		t.Errorf("left %+v", list)
	}
	if _, err := e.Load(t.Context(), testImage(t, "web", "one")); err != nil || running.ID == "" {
		t.Error(err)
	}
}

func TestRealEvents(t *testing.T) {
	e := realEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	wake := e.Events(ctx)
	<-wake // connected
	s := newSpec(t, e, "events", "exit", "0")
	if _, err := e.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for range wake {
		if only(t, e, "events").State == "exited" {
			break
		}
	}
	cancel()
	for range wake {
	}
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

func problem(err error) *appliance.Error {
	var p *appliance.Error
	if errors.As(err, &p) {
		return p
	}
	return &appliance.Error{}
}

// TestRealSurvivesDockerKill kills dockerd with -9 under a running container.
func TestRealSurvivesDockerKill(t *testing.T) {
	e := realEngine(t)
	c := started(t, e, newSpec(t, e, "survive", "serve"))
	wake := e.Events(t.Context())
	<-wake // connected
	followed, first := make(chan error, 1), make(chan struct{})
	follower := signalWriter{sync.OnceFunc(func() { close(first) })}
	go func() { followed <- e.Logs(t.Context(), c.ID, appliance.LogOptions{Follow: true}, follower) }()
	<-first
	asked := make(chan int)
	stop := make(chan struct{})
	go func() { asked <- askUntil(t, c, stop) }()
	before := dockerPID(t)
	must(t, syscall.Kill(before, syscall.SIGKILL))
	if err := <-followed; err != nil {
		t.Logf("the follower of the log: %v", err)
	}
	<-wake // connected again
	if now := dockerPID(t); now == before {
		t.Fatal("dockerd was not killed")
	}
	found := only(t, e, "survive")
	if found.ID != c.ID || found.Started != c.Started || !found.Running() || found.Address != c.Address || found.Crashes != 0 {
		t.Errorf("before %+v\nafter  %+v", c, found)
	}
	must(t, e.WaitHealthy(t.Context(), c.ID))
	out, err := e.Exec(t.Context(), c.ID, []string{"/service", "as-service", "say", "still here"})
	must(t, err)
	if out != "still here\n" {
		t.Errorf("output %q", out)
	}
	close(stop)
	t.Logf("dockerd %d killed, %d now; the container answered %d requests meanwhile, none failed", before, dockerPID(t), <-asked)
	must(t, e.Stop(t.Context(), c.ID, 10*time.Second))
	if log := logs(t, e, c.ID, appliance.LogOptions{}); !strings.HasSuffix(log, "goodbye\n") {
		t.Errorf("log after the kill: %q", log)
	}
}

func askUntil(t *testing.T, c appliance.Container, stop <-chan struct{}) int {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return n
		default:
		}
		resp, err := http.Get("http://" + c.Address + ":8080/healthz")
		if err != nil {
			t.Error(err)
			return n
		}
		resp.Body.Close()
	}
}

func dockerPID(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/run/docker.pid")
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	must(t, err)
	return pid
}

// TestRealDockerDown stops Docker for good and starts it again.
func TestRealDockerDown(t *testing.T) {
	e := realEngine(t)
	systemctl(t, "stop", "docker.service", "docker.socket")
	_, err := e.List(t.Context(), "")
	wantProblem(t, err, "engine.unreachable")
	wantProblem(t, e.Ping(t.Context()), "engine.unreachable")
	wantProblem(t, e.Stop(t.Context(), "anything", time.Second), "engine.unreachable")
	systemctl(t, "start", "docker.socket", "docker.service")
	must(t, e.Ping(t.Context()))
}

func systemctl(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
