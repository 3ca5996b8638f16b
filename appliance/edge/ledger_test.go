// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
)

// TestLedger: how often an authority that always fails is asked within a day,
// by impatient strangers, by impatient people, and over crashes.
func TestLedger(t *testing.T) {
	for name, people := range map[string]bool{"strangers": false, "people": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var asked []time.Time
				fail := func(context.Context, *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
					asked = append(asked, time.Now())
					return nil, errors.New("no such name")
				}
				csr := &x509.CertificateRequest{DNSNames: []string{"rides.example"}}
				for range 24 * 60 * 2 {
					l := newLedger(dir, slog.New(slog.DiscardHandler)) // it crashed again
					if people {
						l.forgive("rides.example")
					}
					_, err := l.issue(t.Context(), csr, fail)
					var stop certmagic.ErrNoRetry
					if !errors.As(err, &stop) || !strings.Contains(err.Error(), "no such name") {
						t.Fatalf("got %v", err)
					}
					time.Sleep(30 * time.Second)
				}
				checkPace(t, asked)
			})
		})
	}
}

// checkPace wants the limits of Let's Encrypt kept: five failures, and one more
// every 12 minutes.
func checkPace(t *testing.T, asked []time.Time) {
	t.Helper()
	if len(asked) < 8 {
		t.Errorf("asked only %d times within a day", len(asked))
	}
	left, last := 5.0, asked[0]
	for _, at := range asked {
		left = min(5, left+at.Sub(last).Minutes()/12) - 1
		last = at
		if left < 0 {
			t.Fatalf("beyond the limit at %v after the first of %d", at.Sub(asked[0]), len(asked))
		}
	}
}

func TestLedgerForgetsSuccessAndStrangers(t *testing.T) {
	l := newLedger(t.TempDir(), slog.New(slog.DiscardHandler))
	l.record("a.example", errors.New("one"))
	l.record("b.example", errors.New("two"))
	l.greeted("c.example", errors.New("the disk is full"))
	if l.last("a.example") != "one" || l.last("c.example") != "the disk is full" {
		t.Errorf("%q, %q", l.last("a.example"), l.last("c.example"))
	}
	l.record("a.example", nil)
	l.greeted("c.example", nil)
	l.keep(func(name string) bool { return name != "b.example" })
	for _, name := range []string{"a.example", "b.example", "c.example"} {
		if why := l.last(name); why != "" {
			t.Errorf("%s: %q", name, why)
		}
	}
}
