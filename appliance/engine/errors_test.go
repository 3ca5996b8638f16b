// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/engine"
)

// TestFakeErrors runs on both ways in which engines number images.
func TestFakeErrors(t *testing.T) {
	for name, contents := range map[string]bool{"by config": false, "by manifest": true} {
		t.Run(name, func(t *testing.T) {
			f, e := newFake(t)
			f.contents = contents
			errorContract(t, e)
		})
	}
}

// TestAForeignName gives the name of one of our images to another one.
func TestAForeignName(t *testing.T) {
	f, e := newFake(t)
	img, other := makeImage(t, "mine", map[string][]byte{"service": []byte("x")}), makeImage(t, "other", nil)
	ref, err := e.Load(t.Context(), img)
	must(t, err)
	theirs, err := e.Load(t.Context(), other)
	must(t, err)
	f.set(func() {
		for _, name := range f.tags(f.images[ref]) {
			f.images[name] = f.images[theirs]
		}
	})
	again, err := e.Load(t.Context(), img)
	must(t, err)
	if again != ref || len(f.tags(f.images[ref])) != 1 {
		t.Errorf("the image is %s, want %s; it has the names %v", again, ref, f.tags(f.images[ref]))
	}
}

func TestUnreachable(t *testing.T) {
	e, err := engine.New(filepath.Join(t.TempDir(), "nobody"))
	must(t, err)
	ctx := t.Context()
	_, err = e.List(ctx, "")
	wantProblem(t, err, "engine.unreachable")
	wantProblem(t, e.Ping(ctx), "engine.unreachable")
	wantProblem(t, e.EnsureNetwork(ctx, "a-stack"), "engine.unreachable")
	wantProblem(t, e.Stop(ctx, "x", time.Second), "engine.unreachable")
	wantProblem(t, e.WaitHealthy(ctx, "x"), "engine.unreachable")
	wantProblem(t, e.WaitEnd(ctx, "x"), "engine.unreachable")
	_, err = e.Info(ctx)
	wantProblem(t, err, "engine.unreachable")
	_, err = e.Load(ctx, makeImage(t, "x", nil))
	wantProblem(t, err, "engine.unreachable")
}

// TestDiesInTheMiddle breaks the connection while the engine answers.
func TestDiesInTheMiddle(t *testing.T) {
	f, e := newFake(t)
	must(t, e.Ping(t.Context()))
	f.set(func() {
		f.hangUp = func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/containers/json") }
	})
	_, err := e.List(t.Context(), "")
	wantProblem(t, err, "engine.unreachable")
	f.set(func() { f.hangUp = nil })
	_, err = e.List(t.Context(), "")
	must(t, err)
}

// TestUpgradedUnderUs agrees on a version with an engine that then refuses it.
func TestUpgradedUnderUs(t *testing.T) {
	f, e := newFake(t)
	_, err := e.List(t.Context(), "")
	must(t, err)
	f.set(func() { f.minAPI, f.maxAPI = "1.44", "1.48" })
	_, err = e.List(t.Context(), "")
	must(t, err)
	f.set(func() { f.minAPI, f.maxAPI = "9.1", "9.9" }) // newer than we can speak
	_, err = e.List(t.Context(), "")
	wantProblem(t, err, "engine.refused")
}

func TestCallerGivesUp(t *testing.T) {
	_, e := newFake(t)
	reason := errors.New("somebody pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := e.List(ctx, ""); !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
	if err := e.WaitHealthy(ctx, "x"); !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
}

// TestEventsReconnect wakes after each break of the stream, and ends with ctx.
func TestEventsReconnect(t *testing.T) {
	f, e := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	wake := e.Events(ctx)
	for range 3 {
		<-wake
		f.streams <- struct{}{}
	}
	cancel()
	for range wake {
	}
}

func TestProbe(t *testing.T) {
	_, e := newFake(t)
	if err := e.Probe(t.Context(), "", appliance.Probe{Port: 1, Path: "/"}); err == nil {
		t.Error("a container without an address answered")
	}
	if err := e.Probe(t.Context(), "127.0.0.1", appliance.Probe{Port: 1, Path: "/"}); err == nil {
		t.Error("a closed port answered")
	}
}
