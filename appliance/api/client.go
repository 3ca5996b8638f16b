// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// ErrNotRunning is in the error of every verb while no daemon listens.
var ErrNotRunning = errors.New("the daemon does not listen")

// Client asks the daemon. It is safe for use by several goroutines.
type Client struct {
	http *http.Client
	path string
}

// NewClient gives a client for the socket at path. It does not connect yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true}}}
}

// Status tells how the box is.
func (c *Client) Status(ctx context.Context) (appliance.Status, error) {
	return ask[appliance.Status](ctx, c, "status", none{})
}

// Findings tells everything that is wrong, the worst first.
func (c *Client) Findings(ctx context.Context) ([]appliance.Finding, error) {
	return ask[[]appliance.Finding](ctx, c, "findings", none{})
}

// Jobs gives the newest jobs first, at most limit (500).
func (c *Client) Jobs(ctx context.Context, limit int) ([]appliance.Job, error) {
	return ask[[]appliance.Job](ctx, c, "jobs", jobsRequest{limit})
}

// WatchJob tells the events of a job from its beginning, and returns when it
// has ended, with its error if it failed.
func (c *Client) WatchJob(ctx context.Context, job string, watch func(step.Event)) error {
	_, err := tell[none](ctx, c, call{"job.watch", jobName{job}}, hear{event: watch})
	return err
}

// Apply makes a stack run; see [appliance.Daemon.Apply]. Like everything that
// takes a watch, it goes on when ctx ends: WatchJob looks at it again.
func (c *Client) Apply(ctx context.Context, r appliance.ApplyRequest, watch func(step.Event)) (appliance.Release, error) {
	return tell[appliance.Release](ctx, c, call{"stack.apply", r}, hear{event: watch})
}

// Restart swaps the containers of a stack without dropping a request.
func (c *Client) Restart(ctx context.Context, stack string, watch func(step.Event)) error {
	_, err := tell[none](ctx, c, call{"stack.restart", stackName{stack}}, hear{event: watch})
	return err
}

// Hosts changes the names under which a stack is reached.
func (c *Client) Hosts(ctx context.Context, r appliance.HostsRequest, watch func(step.Event)) error {
	_, err := tell[none](ctx, c, call{"stack.hosts", r}, hear{event: watch})
	return err
}

// Remove takes a stack down; its data stays.
func (c *Client) Remove(ctx context.Context, stack string, watch func(step.Event)) error {
	_, err := tell[none](ctx, c, call{"stack.remove", stackName{stack}}, hear{event: watch})
	return err
}

// Link gives a one-time address; see [appliance.Daemon.Link].
func (c *Client) Link(ctx context.Context, r appliance.LinkRequest) (string, error) {
	a, err := ask[linkAnswer](ctx, c, "stack.link", r)
	return a.URL, err
}

// Logs copies what a service printed to w.
func (c *Client) Logs(ctx context.Context, r appliance.LogsRequest, w io.Writer) error {
	_, err := tell[none](ctx, c, call{"logs", r}, hear{text: w})
	return err
}

type call struct {
	verb string
	body any
}

// hear is who listens to a stream.
type hear struct {
	event func(step.Event)
	text  io.Writer
}

// ask is for verbs that answer at once.
func ask[Out any](ctx context.Context, c *Client, verb string, body any) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit+5*time.Second)
	defer cancel()
	return tell[Out](ctx, c, call{verb, body}, hear{})
}

func tell[Out any](ctx context.Context, c *Client, what call, h hear) (result Out, err error) {
	resp, err := c.send(ctx, what)
	if err != nil {
		return result, err
	}
	defer resp.Body.Close()
	var last step.Event
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		var l line[Out]
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return result, c.garbled(err)
		}
		if l.Done {
			return l.end()
		}
		if l.Event != nil {
			last = *l.Event
		}
		if err := h.take(l.Event, l.Text); err != nil {
			return result, err
		}
	}
	switch {
	case ctx.Err() != nil && h.event != nil:
		return result, what.left(last)
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	}
	return result, c.cut(lines.Err())
}

// left is what whoever ends a command is told whose order the daemon has: with the
// command only the watching ends. last is the newest event that was heard of.
func (what call) left(last step.Event) error {
	id, undo := "daemon.left", map[string]bool{"stack-update": true, "stack-restore": true}
	switch {
	case last.Job == "", what.verb == "update.apply" && last.Plan != "stack-update":
		id = "daemon.left-early" // it may not have begun, and then it will not
	case undo[last.Plan]:
		id = "daemon.left-change"
	}
	return appliance.Problem(id, nil, "job", last.Job, "stack", what.stack()).WithCode(appliance.ExitInterrupted)
}

// stack is the one that the order is about, or "".
func (what call) stack() string {
	switch r := what.body.(type) {
	case appliance.UpdateRequest:
		return r.Stack
	case appliance.RestoreRequest:
		return r.Stack
	default:
		return ""
	}
}

func (l line[Out]) end() (result Out, err error) {
	if l.Error != nil {
		return result, l.Error.unpack()
	}
	if l.Result != nil {
		result = *l.Result
	}
	return result, nil
}

func (h hear) take(e *step.Event, text []byte) error {
	if e != nil && h.event != nil {
		h.event(*e)
	}
	if len(text) == 0 || h.text == nil {
		return nil
	}
	_, err := h.text.Write(text)
	return err
}

func (c *Client) send(ctx context.Context, what call) (*http.Response, error) {
	body, err := json.Marshal(envelope[any]{Schema: Schema, Body: what.body})
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/v1/"+what.verb, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	var dial *net.OpError
	switch {
	case err == nil && resp.Header.Get("Content-Type") == "application/x-ndjson":
		return resp, nil
	case err == nil:
		return nil, errors.Join(c.garbled(errors.New(resp.Status)), resp.Body.Close())
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, fs.ErrPermission):
		return nil, appliance.Problem("daemon.forbidden", err, "uid", os.Geteuid()).WithCode(appliance.ExitUsage)
	case errors.As(err, &dial) && dial.Op == "dial":
		return nil, appliance.Problem("daemon.not-running", errors.Join(ErrNotRunning, err), "path", c.path)
	default:
		return nil, c.cut(err)
	}
}

// cut is an answer that ended in the middle: the daemon ended, or was ended.
func (c *Client) cut(err error) error {
	return appliance.Problem("daemon.cut-off", err)
}

// garbled is an answer that this binary does not understand: the daemon is
// another version.
func (c *Client) garbled(err error) error {
	return appliance.Problem("daemon.garbled", err, "detail", err)
}
