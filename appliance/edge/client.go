// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"rochdale/appliance"
)

// maxReply bounds what the client reads, in bytes.
const maxReply = 4 << 20

// Client speaks to the edge over its control socket. It is safe for
// concurrent use. Errors are [*appliance.Error]: edge.unreachable when there
// is no edge, otherwise what the edge said.
type Client struct{ http *http.Client }

var _ appliance.Edge = (*Client)(nil)

// NewClient makes a client for the socket at path. It does not connect yet.
func NewClient(path string) *Client {
	return &Client{http: &http.Client{
		Timeout:   warmBound + 10*time.Second,
		Transport: &http.Transport{DialContext: dialControl(path), MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second},
	}}
}

// Apply makes r the document of now. When it returns nil the document is on
// the disk, and every request that follows the old one is counted in flight.
// An older version than the one that is served is refused (edge.routes-older);
// the same document again is fine.
func (c *Client) Apply(ctx context.Context, r appliance.Routes) error {
	return c.call(ctx, http.MethodPut, "/v1/routes", r, nil)
}

// Routes gives the document that is served.
func (c *Client) Routes(ctx context.Context) (r appliance.Routes, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/routes", nil, &r)
	return r, err
}

// InFlight counts the requests that are at the upstream now.
func (c *Client) InFlight(ctx context.Context, upstream string) (int, error) {
	var r inFlightReply
	err := c.call(ctx, http.MethodGet, "/v1/inflight?upstream="+url.QueryEscape(upstream), nil, &r)
	return r.InFlight, err
}

// Certificates lists every host with its certificate; NotAfter is zero when
// there is none yet, Error says why the last attempt failed.
func (c *Client) Certificates(ctx context.Context) (list []appliance.Certificate, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/certificates", nil, &list)
	return list, err
}

// Warm gets the certificate of a host now and waits for it, two minutes at most.
func (c *Client) Warm(ctx context.Context, host string) error {
	return c.call(ctx, http.MethodPost, "/v1/warm?host="+url.QueryEscape(host), nil, nil)
}

// RootCA gives the root certificate (PEM) of a box with its own authority.
func (c *Client) RootCA(ctx context.Context) ([]byte, error) {
	var r rootReply
	err := c.call(ctx, http.MethodGet, "/v1/root", nil, &r)
	return []byte(r.PEM), err
}

// Health tells how the edge is.
func (c *Client) Health(ctx context.Context) (h Health, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/health", nil, &h)
	return h, err
}

func (c *Client) call(ctx context.Context, method, path string, send, receive any) error {
	var body bytes.Buffer
	if send != nil {
		if err := json.NewEncoder(&body).Encode(send); err != nil {
			return fmt.Errorf("encode for the edge: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://edge"+path, &body)
	if err != nil {
		return fmt.Errorf("ask the edge: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return appliance.Problem("edge.unreachable", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return appliance.Problem("edge.unreachable", err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return decodeError(res.StatusCode, data)
	}
	if receive == nil {
		return nil
	}
	if err := json.Unmarshal(data, receive); err != nil {
		return fmt.Errorf("understand the edge: %w", err)
	}
	return nil
}

func decodeError(status int, data []byte) error {
	var r errorReply
	if err := json.Unmarshal(data, &r); err != nil || r.Error.ID == "" {
		return appliance.Problem("edge.failed", nil, "detail", fmt.Sprintf("the edge answered %d", status))
	}
	e := &appliance.Error{Message: r.Error, Code: appliance.ExitCheckFailed}
	if r.Cause != "" {
		e.Err = errors.New(r.Cause)
	}
	return e
}
