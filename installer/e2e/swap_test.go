// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
)

func stringReader(s string) io.Reader { return strings.NewReader(s) }

// TestNothingDropped swaps the stack's container, changes host names and
// restarts the edge under load, and counts the requests that failed: none may.
// A short run does a tenth of what `make torture` does.
func TestNothingDropped(t *testing.T) {
	b := boot(t, box.Options{})
	ctx := within(t, 40*time.Minute)
	if _, err := b.Install(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	times := func(n int) int {
		if torture() {
			return n
		}
		return n / 10
	}
	underLoad(t, b, fmt.Sprintf("%d container swaps", times(200)), times(200), func(int) error {
		return command(t, b, "rochdale", "stack", "restart", "delivery")
	})
	other := "www." + b.Domain
	b.CA.SetName(other, b.IP)
	underLoad(t, b, fmt.Sprintf("%d changes of hosts", times(50)), times(50), func(i int) error {
		args := []string{"rochdale", "stack", "hosts", "delivery", "--domain", b.Domain}
		if i%2 == 0 {
			args = append(args, "--alias", other)
		}
		return command(t, b, args...)
	})
	underLoad(t, b, fmt.Sprintf("%d restarts of the edge", times(20)), times(20), func(int) error {
		if err := command(t, b, "systemctl", "restart", "rochdale-edge.service"); err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
		return nil
	})
	healthy(t, b)
}

func underLoad(t *testing.T, b *box.Box, what string, n int, change func(i int) error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.CA.IssuerRootPEM())
	load := &box.Load{Hosts: []string{b.Domain}, Address: b.IP.String() + ":443", TLS: &tls.Config{RootCAs: pool}, Workers: 12}
	load.Start(t.Context())
	for load.Seen() < 50 {
		time.Sleep(20 * time.Millisecond)
	}
	start := time.Now()
	var failed error
	for i := 0; i < n && failed == nil; i++ {
		failed = change(i)
	}
	took := time.Since(start)
	time.Sleep(500 * time.Millisecond)
	counts := load.Stop()
	t.Logf("%s in %.0f s: %s", what, took.Seconds(), counts)
	if failed != nil {
		t.Errorf("%s: %v", what, failed)
	}
	if counts.Failed > 0 || counts.Requests < 100 {
		t.Errorf("%s: %s", what, counts)
	}
}

func command(t *testing.T, b *box.Box, args ...string) error {
	r, err := b.Exec(t.Context(), testhost.Command{Args: args})
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("%v: code %d\n%s\n%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return nil
}

// TestCrashLoops kills the daemon, the edge and the engine again and again;
// each must come back by itself.
func TestCrashLoops(t *testing.T) {
	t.Parallel()
	b := boot(t, box.Options{})
	ctx := within(t, 15*time.Minute)
	if _, err := b.Install(ctx); err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"rochdale.service", "rochdale-edge.service", "docker.service"} {
		for i := range 8 {
			if err := command(t, b, "systemctl", "kill", "--signal=SIGKILL", "--kill-whom=main", unit); err != nil {
				t.Fatalf("%s, kill %d: %v", unit, i+1, err)
			}
			time.Sleep(300 * time.Millisecond)
			waitActive(t, b, unit)
		}
		if err := b.WaitHTTPS(within(t, time.Minute)); err != nil {
			t.Errorf("after 8 kills of %s: %v", unit, err)
		}
		serving(t, b)
	}
}

// serving waits until the daemon says that the stack runs. The box still
// reports the crashes for a while, as it should.
func serving(t *testing.T, b *box.Box) {
	t.Helper()
	var s box.Status
	var err error
	for range 60 {
		if s, err = b.Status(t.Context()); err == nil && len(s.Stacks) == 1 && s.Stacks[0].State == "running" {
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("the stack does not run: %+v, %v", s, err)
}

func waitActive(t *testing.T, b *box.Box, unit string) {
	t.Helper()
	for range 300 {
		if out, err := b.Output(t.Context(), "systemctl", "show", "--property=ActiveState", "--value", unit); err == nil && strings.TrimSpace(out) == "active" {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%s did not come back within a minute", unit)
}
