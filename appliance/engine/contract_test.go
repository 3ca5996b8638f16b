// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"rochdale/appliance"
	"rochdale/appliance/engine"
	"rochdale/stacks"
)

// The contract of error paths. Any engine passes it: the fake one of the unit
// tests, and the real ones in test machines (build tag e2e).
func errorContract(t *testing.T, e *engine.Engine) {
	t.Run("what is gone", func(t *testing.T) { contractGone(t, e) })
	t.Run("an image with other layers", func(t *testing.T) { contractImageDiffers(t, e) })
	t.Run("an image with another config", func(t *testing.T) { contractConfigDiffers(t, e) })
	t.Run("an image that can not be read", func(t *testing.T) { contractImageUnreadable(t, e) })
	t.Run("a container that ends", func(t *testing.T) { contractEnds(t, e) })
	t.Run("a container that is to end", func(t *testing.T) { contractOnce(t, e) })
	t.Run("a container that is to end and does not", func(t *testing.T) { contractStillRuns(t, e) })
	t.Run("a specification without limits", func(t *testing.T) { contractNoLimits(t, e) })
}

func contractGone(t *testing.T, e *engine.Engine) {
	ctx := t.Context()
	const gone = "rochdale-none-none-000000"
	_, err := e.Exec(ctx, gone, []string{"/service"})
	wantProblem(t, err, "engine.not-there")
	wantProblem(t, e.Logs(ctx, gone, appliance.LogOptions{}, io.Discard), "engine.not-there")
	_, err = e.Stats(ctx, gone)
	wantProblem(t, err, "engine.not-there")
	wantProblem(t, e.WaitHealthy(ctx, gone), "engine.not-there")
	wantProblem(t, e.WaitEnd(ctx, gone), "engine.not-there")
	must(t, e.Stop(ctx, gone, time.Second))
	must(t, e.Remove(ctx, gone))
	must(t, e.RemoveNetwork(ctx, "never-there"))
	list, err := e.List(ctx, "never-there")
	must(t, err)
	if len(list) != 0 {
		t.Errorf("containers of an unknown stack: %v", list)
	}
}

func contractImageDiffers(t *testing.T, e *engine.Engine) {
	ctx := t.Context()
	clean(t, e)
	img := makeImage(t, "other", map[string][]byte{"service": []byte("other")})
	lying := img
	lying.DiffIDs = []string{"sha256:" + strings.Repeat("0", 64)}
	_, err := e.Load(ctx, lying)
	wantProblem(t, err, "engine.image-differs")
	pruned, err := e.Prune(ctx, appliance.Keep{})
	must(t, err)
	if len(pruned.Images) != 0 {
		t.Errorf("the refused image left %v", pruned.Images)
	}
	ref, err := e.Load(ctx, img)
	must(t, err)
	again := img
	again.Open = func() (io.ReadCloser, error) { return nil, errors.New("opened although it is there") }
	ref2, err := e.Load(ctx, again)
	must(t, err)
	if ref2 != ref {
		t.Errorf("the same image is %q and %q", ref, ref2)
	}
	pruned, err = e.Prune(ctx, appliance.Keep{Images: []string{ref}})
	must(t, err)
	if len(pruned.Images) != 0 {
		t.Errorf("removed %v although it was to be kept", pruned.Images)
	}
	pruned, err = e.Prune(ctx, appliance.Keep{})
	must(t, err)
	if len(pruned.Images) != 1 || pruned.Images[0] != ref {
		t.Errorf("removed %v, want %s", pruned.Images, ref)
	}
}

// contractConfigDiffers loads an image with the right layers that would run
// something else.
func contractConfigDiffers(t *testing.T, e *engine.Engine) {
	ctx := t.Context()
	clean(t, e)
	files := map[string][]byte{"service": []byte("config")}
	img := makeImage(t, "config", files)
	other := makeImage(t, "config", files, func(c *v1.Config) { c.Entrypoint = []string{"/other"} })
	if !slices.Equal(img.DiffIDs, other.DiffIDs) || img.ConfigDigest == other.ConfigDigest {
		t.Fatal("the two images should differ in their configs only")
	}
	lying := img
	lying.Open = other.Open
	_, err := e.Load(ctx, lying)
	wantProblem(t, err, "engine.image-differs")
	ref, err := e.Load(ctx, img)
	must(t, err)
	if ref != img.ConfigDigest && ref != img.ManifestDigest {
		t.Errorf("the image is started by %q, which is no digest of its release", ref)
	}
	_, err = e.Prune(ctx, appliance.Keep{})
	must(t, err)
}

type brokenReader struct{ io.Reader }

func (brokenReader) Close() error { return nil }

func contractImageUnreadable(t *testing.T, e *engine.Engine) {
	img := makeImage(t, "broken", map[string][]byte{"service": []byte("x")})
	whole := img.Open
	img.Open = func() (io.ReadCloser, error) {
		r, err := whole()
		return brokenReader{io.MultiReader(io.LimitReader(r, 700), failing{})}, err
	}
	_, err := e.Load(t.Context(), img)
	wantProblem(t, err, "engine.image-unreadable")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk has a bad sector") }

func contractEnds(t *testing.T, e *engine.Engine) {
	s := newSpec(t, e, "ends", "exit", "7")
	c, err := e.Start(t.Context(), s)
	must(t, err)
	err = e.WaitHealthy(t.Context(), c.ID)
	wantProblem(t, err, "engine.ended")
	var p *appliance.Error
	errors.As(err, &p)
	if p.Args["code"] != "7" || p.Args["service"] != "web" || p.Args["stack"] != "ends" {
		t.Errorf("arguments %v", p.Args)
	}
	if lines := strings.Split(p.Args["log"], "\n"); len(lines) != 20 || lines[0] != "line 6" || lines[19] != "line 25" {
		t.Errorf("not the last 20 lines: %q", p.Args["log"])
	}
	list, err := e.List(t.Context(), "ends")
	must(t, err)
	if len(list) != 1 || list[0].State != "exited" || list[0].ExitCode != 7 || list[0].Crashes != 1 || list[0].Finished.IsZero() {
		t.Errorf("list %+v", list)
	}
}

func contractOnce(t *testing.T, e *engine.Engine) {
	s := newSpec(t, e, "once", "exit", "0")
	s.Once = true
	c, err := e.Start(t.Context(), s)
	must(t, err)
	must(t, e.WaitEnd(t.Context(), c.ID))
	must(t, e.WaitEnd(t.Context(), c.ID)) // it is left as it is
	s.Service.Command = []string{"exit", "3"}
	again, err := e.Start(t.Context(), s)
	must(t, err)
	err = e.WaitEnd(t.Context(), again.ID)
	wantProblem(t, err, "engine.ended")
	var p *appliance.Error
	if !errors.As(err, &p) || p.Args["code"] != "3" || !strings.HasSuffix(p.Args["log"], "line 25") {
		t.Errorf("error %v", err)
	}
	list, err := e.List(t.Context(), "once")
	must(t, err)
	if len(list) != 1 || list[0].ExitCode != 3 || list[0].Service != "web" {
		t.Errorf("list %+v", list)
	}
}

func contractStillRuns(t *testing.T, e *engine.Engine) {
	c, err := e.Start(t.Context(), newSpec(t, e, "endless", "deaf"))
	must(t, err)
	var log strings.Builder
	for began := time.Now(); log.Len() == 0 && time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		must(t, e.Logs(t.Context(), c.ID, appliance.LogOptions{}, &log))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = e.WaitEnd(ctx, c.ID)
	wantProblem(t, err, "engine.still-runs")
	var p *appliance.Error
	if !errors.As(err, &p) || p.Args["log"] != "I hear nothing" || p.Args["service"] != "web" {
		t.Errorf("error %v", err)
	}
	reason := errors.New("somebody pressed Ctrl-C")
	gone, giveUp := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { giveUp(reason) })
	if err := e.WaitEnd(gone, c.ID); !errors.Is(err, reason) {
		t.Errorf("a caller who gives up gets %v", err)
	}
	list, err := e.List(t.Context(), "endless")
	must(t, err)
	if len(list) != 1 || !list[0].Running() {
		t.Errorf("whoever waits for its end should leave it alone: %+v", list)
	}
}

func contractNoLimits(t *testing.T, e *engine.Engine) {
	good := newSpec(t, e, "limits", "serve")
	for name, spoil := range map[string]func(*appliance.ContainerSpec){
		"as root":               func(s *appliance.ContainerSpec) { s.User = 0 },
		"without memory limit":  func(s *appliance.ContainerSpec) { s.Service.Memory = 0 },
		"without cpu limit":     func(s *appliance.ContainerSpec) { s.Service.CPUs = 0 },
		"without pids limit":    func(s *appliance.ContainerSpec) { s.Service.PIDs = 0 },
		"unknown volume":        func(s *appliance.ContainerSpec) { s.Service.Mounts = []stacks.Mount{{Volume: "x", Target: "/x"}} },
		"relative folder":       func(s *appliance.ContainerSpec) { s.Volumes = map[string]string{"data": "data"} },
		"secret outside":        func(s *appliance.ContainerSpec) { s.Secrets = map[string]string{"../key": "/etc/shadow"} },
		"stack with a slash":    func(s *appliance.ContainerSpec) { s.Stack = "a/b" },
		"service with a letter": func(s *appliance.ContainerSpec) { s.Service.Name = "É" },
		"no suffix":             func(s *appliance.ContainerSpec) { s.Suffix = "" },
	} {
		s := good
		s.Service.Mounts = []stacks.Mount{{Volume: "data", Target: "/data"}}
		s.Volumes = map[string]string{"data": t.TempDir()}
		spoil(&s)
		if _, err := e.Start(t.Context(), s); err == nil {
			t.Errorf("a container %s was started", name)
		}
	}
}

// newSpec is a specification of a stack with one service; stack, network and
// image are made, and everything is removed at the end of the test.
func newSpec(t *testing.T, e *engine.Engine, stack string, command ...string) appliance.ContainerSpec {
	t.Helper()
	must(t, e.EnsureNetwork(t.Context(), stack))
	ref, err := e.Load(t.Context(), testImage(t, "web", "one"))
	must(t, err)
	t.Cleanup(func() { removeStack(t, e, stack) })
	return appliance.ContainerSpec{
		Stack: stack, User: 65532, Digest: "sha256:" + strings.Repeat("ab", 32), Generation: 3, Image: ref,
		Suffix: appliance.NewSuffix(),
		Service: stacks.Service{
			Name: "web", Command: command, Memory: 64 << 20, CPUs: 1, PIDs: 64, StopGrace: 5 * time.Second,
		},
	}
}

// clean removes what earlier tests left unused.
func clean(t *testing.T, e *engine.Engine) {
	t.Helper()
	_, err := e.Prune(t.Context(), appliance.Keep{})
	must(t, err)
}

func removeStack(t *testing.T, e *engine.Engine, stack string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	list, err := e.List(ctx, stack)
	must(t, err)
	for _, c := range list {
		must(t, e.Remove(ctx, c.ID))
	}
	must(t, e.RemoveNetwork(ctx, stack))
}

func wantProblem(t *testing.T, err error, id string) {
	t.Helper()
	if !appliance.IsProblem(err, id) {
		t.Errorf("error %v, want one with the id %s", err, id)
	}
}
