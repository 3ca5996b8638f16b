// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"rochdale/appliance/host"
)

// Probe is how preflight looks at a machine. It has no way to change one: its
// commands only ask.
type Probe struct {
	// Root is "/" on a real machine; tests point it at a tree of files.
	Root   string
	Runner host.Runner
	Net    Network
	UID    int
	Env    func(string) string
	// Space tells what a file system has left and what kind it is.
	Space func(path string) (free int64, kind string, err error)
	Arch  string
	Now   time.Time
}

// Network is what preflight asks of the world outside.
type Network interface {
	Resolve(ctx context.Context, name string) ([]netip.Addr, error)
	// Own are the machine's addresses, loopback left out.
	Own() ([]netip.Addr, error)
	// Reach asks for the head of a document; any answer of a server will do.
	Reach(ctx context.Context, address, proxy string) error
}

// maxFile bounds what preflight reads of a file, in bytes.
const maxFile = 8 << 20

func (p Probe) path(name string) string { return filepath.Join(p.Root, name) }

// file gives the content, or nil when it can not be read.
func (p Probe) file(name string) []byte {
	f, err := os.Open(p.path(name))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil
	}
	return data
}

func (p Probe) exists(name string) bool {
	_, err := os.Stat(p.path(name))
	return err == nil
}

// ask runs a program that only answers, and gives what it printed.
func (p Probe) ask(ctx context.Context, name string, args ...string) string {
	out, err := p.try(ctx, name, args...)
	if err != nil {
		return ""
	}
	return out
}

// try is ask where it matters why there is no answer.
func (p Probe) try(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	r, err := p.Runner.Run(ctx, host.Command{Name: name, Args: args})
	return string(r.Stdout), err
}

// A small computer with a cold disk takes its time: apt alone took over ten
// seconds to list its sources on an emulated one.
const (
	askBound   = time.Minute
	reachBound = 15 * time.Second
)

// Internet is the [Network] of a real machine.
type Internet struct{}

var _ Network = Internet{}

// Resolve implements [Network].
func (Internet) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, reachBound)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	return addresses, err
}

// Own implements [Network].
func (Internet) Own() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the machine's addresses: %w", err)
	}
	var own []netip.Addr
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLoopback() {
			own = append(own, prefix.Addr().Unmap())
		}
	}
	return own, nil
}

// Reach implements [Network].
func (Internet) Reach(ctx context.Context, address, proxy string) error {
	ctx, cancel := context.WithTimeout(ctx, reachBound)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil {
			return fmt.Errorf("read the address of apt's proxy: %w", err)
		}
		transport.Proxy = http.ProxyURL(u)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode >= 500 {
		return fmt.Errorf("%s answers %s", address, answer.Status)
	}
	return nil
}
