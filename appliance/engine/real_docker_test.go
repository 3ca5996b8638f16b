// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package engine_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rochdale/appliance"
)

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

func TestRealPrune(t *testing.T) {
	e := realEngine(t)
	clean(t, e)
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
