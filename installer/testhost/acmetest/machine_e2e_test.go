// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package acmetest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"rochdale/installer/testhost"
)

// TestMachineAndAuthority issues a certificate for a name that a booted machine answers on port 80.
func TestMachineAndAuthority(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := testhost.Setup(ctx, os.Stderr); err != nil {
		t.Fatal(err)
	}
	a, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	m, err := testhost.Boot(ctx, testhost.Options{Name: "web", Resolver: a.IP()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	a.SetName("rides.example", m.IP)
	inside(t, ctx, m, a)

	c := client(t, ctx, a)
	chain, err := obtain(ctx, c, "rides.example", "http-01", func(challenge *acme.Challenge) error {
		answer, err := c.HTTP01ChallengeResponse(challenge.Token)
		if err != nil {
			return err
		}
		return answerOnce(ctx, m, answer)
	})
	if err != nil {
		t.Fatal(err)
	}
	verify(t, a, chain, "rides.example")
}

// inside checks what the machine sees of the authority and of the names.
func inside(t *testing.T, ctx context.Context, m *testhost.Machine, a *Authority) {
	t.Helper()
	if got, err := m.Output(ctx, "getent", "hosts", "rides.example"); err != nil || !strings.HasPrefix(got, m.IP.String()) {
		t.Errorf("rides.example is %q, %v", got, err)
	}
	if got, err := m.Output(ctx, "getent", "hosts", "www.debian.org"); err != nil {
		t.Errorf("the world's names: %q, %v", got, err)
	}
	if err := m.WriteFile(ctx, "/root/root.pem", a.TLSRootPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	fetch := testhost.Command{Args: []string{"curl", "-sS", "--cacert", "/root/root.pem", a.DirectoryURL()}}
	if r, err := m.Exec(ctx, fetch); err != nil || !strings.Contains(r.Stdout, "newOrder") {
		t.Errorf("the directory: %+v, %v", r, err)
	}
	if err := a.Down(); err != nil {
		t.Fatal(err)
	}
	if r, err := m.Exec(ctx, fetch); err != nil || r.Code != 7 { // curl: could not connect
		t.Errorf("while down: %+v, %v", r, err)
	}
	if err := a.Up(); err != nil {
		t.Fatal(err)
	}
}

// answerOnce serves a challenge's answer on port 80 of the machine with a socket unit, since the machine has no web server.
func answerOnce(ctx context.Context, m *testhost.Machine, answer string) error {
	reply := "HTTP/1.0 200 OK\r\n\r\n" + answer
	for path, text := range map[string]string{
		"/root/reply":                         reply,
		"/etc/systemd/system/answer.socket":   "[Socket]\nListenStream=80\nAccept=yes\n",
		"/etc/systemd/system/answer@.service": "[Service]\nExecStart=/bin/sh -c 'head -n 1 >/dev/null; cat /root/reply'\nStandardInput=socket\n",
	} {
		if err := m.WriteFile(ctx, path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := m.Output(ctx, "systemctl", "start", "answer.socket")
	return err
}
