// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"rochdale/appliance"
)

const (
	gateLimit    = 5 * time.Minute // a service that is not ready by then is not healthy
	probeTimeout = 5 * time.Second
	maxPage      = 1 << 20 // bytes of an answer that are looked at
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
	// onceLimit is far above what whoever waits for an end gives it.
	onceLimit = 2 * time.Hour
	// longestOncePause is short: visitors may wait for that end.
	longestOncePause = 200 * time.Millisecond
	// settle is how long a service without any test must have run.
	settle = 2 * time.Second
)

// WaitHealthy implements [appliance.Containers]. It runs the container's own
// health test itself, because the engine's first one comes an interval late,
// and asks the probe from outside, as the edge will.
func (e *Engine) WaitHealthy(ctx context.Context, id string) error {
	bounded, cancel := context.WithTimeout(ctx, gateLimit)
	defer cancel()
	var last error
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		i, err := e.inspect(bounded, id)
		switch {
		case err == nil && !i.State.Running:
			return e.ended(ctx, i)
		case err == nil && unhealthy(i):
			return e.sick(ctx, i, lastCheck(i))
		case err == nil:
			last = e.tests(bounded, i)
		case bounded.Err() == nil:
			return err
		}
		if err == nil && last == nil && e.stillRuns(bounded, i) {
			return nil
		}
		select {
		case <-bounded.Done():
			return e.tooLate(ctx, id, last)
		case <-time.After(pause):
		}
	}
}

// WaitEnd implements [appliance.Containers].
func (e *Engine) WaitEnd(ctx context.Context, id string) error {
	bounded, cancel := context.WithTimeout(ctx, onceLimit)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, longestOncePause) {
		i, err := e.inspect(bounded, id)
		switch {
		case err == nil && !i.State.Running:
			return e.outcome(ctx, i)
		case err != nil && bounded.Err() == nil:
			return err
		}
		select {
		case <-bounded.Done():
			return e.goesOn(ctx, id)
		case <-time.After(pause):
		}
	}
}

// tests runs what the container must pass, once.
func (e *Engine) tests(ctx context.Context, i container.InspectResponse) error {
	argv := healthArgv(i.Config.Healthcheck)
	passed := i.State.Health != nil && i.State.Health.Status == container.Healthy
	switch {
	case argv != nil && !passed:
		if err := e.healthTest(ctx, i, argv); err != nil {
			return err
		}
	case i.State.Health != nil && !passed: // the image's own, in a form that only the engine runs
		return errors.New("its first health test has not ended")
	}
	if label := i.Config.Labels[labelProbe]; label != "" {
		p, err := parseProbe(label)
		if err != nil {
			return err
		}
		return e.Probe(ctx, translate(i).Address, p)
	}
	if argv == nil && time.Since(moment(i.State.StartedAt)) < settle {
		return errors.New("it has just started")
	}
	return nil
}

func (e *Engine) healthTest(ctx context.Context, i container.InspectResponse, argv []string) error {
	if t := i.Config.Healthcheck.Timeout; t > 0 {
		bounded, cancel := context.WithTimeout(ctx, t)
		defer cancel()
		ctx = bounded
	}
	_, err := e.Exec(ctx, i.ID, argv)
	return err
}

// stillRuns makes sure that it was this container, in this life, that passed:
// an address is given to the next one as soon as a container ends.
func (e *Engine) stillRuns(ctx context.Context, before container.InspectResponse) bool {
	now, err := e.inspect(ctx, before.ID)
	return err == nil && now.State.Running && now.State.StartedAt == before.State.StartedAt
}

// Probe implements [appliance.Prober].
func (e *Engine) Probe(ctx context.Context, address string, p appliance.Probe) error {
	if address == "" {
		return errors.New("it has no address yet")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(address, strconv.Itoa(p.Port)) + p.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := probeClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return judge(resp, p)
}

// judge holds an answer against what the probe wants.
func judge(resp *http.Response, p appliance.Probe) error {
	url, want := resp.Request.URL, p.Status
	if want == 0 {
		want = http.StatusOK
	}
	limit := int64(maxPage)
	if p.Contains == "" {
		limit = 64 << 10 // it is only heard out
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	switch {
	case resp.StatusCode != want && p.Status == 0:
		return fmt.Errorf("%s answered %s", url, resp.Status)
	case resp.StatusCode != want:
		return fmt.Errorf("%s answered %s and not %d", url, resp.Status, want)
	case p.Contains == "":
		return nil
	case err != nil:
		return fmt.Errorf("%s broke off its answer: %w", url, err)
	case !strings.Contains(string(body), p.Contains):
		return fmt.Errorf("%s answered without %q in it", url, p.Contains)
	}
	return nil
}

// probeClient keeps no connection open, uses no proxy and follows nothing.
func probeClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// healthArgv is the health test as a program to run, nil if there is none.
func healthArgv(h *container.HealthConfig) []string {
	if h == nil || len(h.Test) < 2 || h.Test[0] != "CMD" {
		return nil
	}
	return h.Test[1:]
}

func unhealthy(i container.InspectResponse) bool {
	return i.State.Health != nil && i.State.Health.Status == container.Unhealthy
}

func lastCheck(i container.InspectResponse) error {
	if n := len(i.State.Health.Log); n > 0 {
		r := i.State.Health.Log[n-1]
		return fmt.Errorf("its health test ended with code %d: %s", r.ExitCode, oneLine(r.Output))
	}
	return errors.New("its health test failed")
}

// outcome tells of a container that was to end whether all went well.
func (e *Engine) outcome(ctx context.Context, i container.InspectResponse) error {
	if i.State.ExitCode == 0 {
		return nil
	}
	return e.ended(ctx, i)
}

// ended says how a container ended that should run, or end well.
func (e *Engine) ended(ctx context.Context, i container.InspectResponse) error {
	c := translate(i)
	id := "engine.ended"
	if c.OOMKilled {
		id = "engine.out-of-memory"
	}
	return appliance.Problem(id, nil, "stack", c.Stack, "service", c.Service, "code", c.ExitCode,
		"memory", c.Memory>>20, "log", e.lastLines(ctx, c.ID))
}

func (e *Engine) sick(ctx context.Context, i container.InspectResponse, reason error) error {
	c := translate(i)
	return appliance.Problem("engine.unhealthy", reason, "stack", c.Stack, "service", c.Service,
		"reason", oneLine(reason.Error()), "log", e.lastLines(ctx, c.ID))
}

// tooLate explains a container that runs but did not pass in time. A caller
// that gave up gets its own reason back.
func (e *Engine) tooLate(ctx context.Context, id string, last error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	// The caller's time may be used up; what follows is short.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quickLimit)
	defer cancel()
	i, err := e.inspect(ctx, id)
	if err != nil {
		return err
	}
	if !i.State.Running {
		return e.ended(ctx, i)
	}
	if last == nil {
		last = errors.New("no test has ended yet")
	}
	return e.sick(ctx, i, last)
}

// goesOn explains a container that has not ended in time. A caller that gave up
// gets its own reason back.
func (e *Engine) goesOn(ctx context.Context, id string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quickLimit)
	defer cancel()
	i, err := e.inspect(ctx, id)
	switch {
	case err != nil:
		return err
	case !i.State.Running:
		return e.outcome(ctx, i)
	}
	c := translate(i)
	return appliance.Problem("engine.still-runs", nil, "stack", c.Stack, "service", c.Service, "log", e.lastLines(ctx, c.ID))
}
