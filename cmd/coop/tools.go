// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"rochdale/stacks/coop"
)

// adminLink prints the path of a one-time link; the caller knows the address.
// Where there is an admin already it prints nothing, as the appliance expects.
func adminLink(ctx context.Context, s settings, std streams, again bool) error {
	app, db, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	token, err := app.NewAdminLink(ctx, again)
	if p, ok := coop.ProblemOf(err); ok && p.Key == "has_admin" {
		report(err, "admin-link", std)
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "/join/%s\n", token)
	return err
}

// resetLink prints the path of a one-time link for a member: the way back for an
// admin who lost the password and is the only one.
func resetLink(ctx context.Context, s settings, std streams, email string) error {
	app, db, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, token, err := app.NewResetLinkFor(ctx, email)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "/reset/%s\n", token)
	return err
}

// unhealthy is a server that doesn't answer as it should.
type unhealthy struct{ why string }

func (u *unhealthy) Error() string {
	return "the server isn't healthy: " + u.why + ". Look at its log"
}

// healthcheck asks the server that runs beside, on the port it listens on.
func healthcheck(ctx context.Context, s settings) error {
	host, port, err := net.SplitHostPort(s.listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &unhealthy{err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return &unhealthy{fmt.Sprintf("it answered %d %s", resp.StatusCode, said)}
	}
	return nil
}
