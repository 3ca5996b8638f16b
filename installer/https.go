// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"rochdale/appliance/step"
)

const (
	// answerBound is how long the first certificate may take.
	answerBound = 45 * time.Second
	// oneAnswer bounds one attempt.
	oneAnswer = 20 * time.Second
	answerGap = 500 * time.Millisecond
)

// firstAnswer asks this machine's own web port, by the domain's name, until it
// answers with a certificate for that name.
func firstAnswer(ctx context.Context, domain string, report step.Report) error {
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	for {
		err := AskOnce(ctx, domain)
		if err == nil {
			return nil
		}
		report(err.Error())
		select {
		case <-ctx.Done():
			return err
		case <-time.After(answerGap):
		}
	}
}

// AskOnce asks this machine's own web port for the first page of the domain.
func AskOnce(ctx context.Context, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, oneAnswer)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:443")
		},
		// We ask ourselves over loopback, and only whether there is a
		// certificate for the name yet: whom browsers trust is not our question
		// (an internal authority, or one of a test, is none that we know).
		TLSClientConfig: &tls.Config{
			ServerName: domain, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, //nolint:gosec // see above
			VerifyConnection: func(s tls.ConnectionState) error { return s.PeerCertificates[0].VerifyHostname(domain) },
		},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+domain+"/", nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode >= 500 {
		return fmt.Errorf("https://%s/ answers %s", domain, answer.Status)
	}
	return nil
}
