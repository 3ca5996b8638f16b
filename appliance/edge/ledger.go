// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"rochdale/appliance/host"

	"github.com/caddyserver/certmagic"
)

// ledgerSchema is the version of issuance.json.
const ledgerSchema = 1

// maxLedger bounds issuance.json, in bytes.
const maxLedger = 1 << 20

// failure is the last failed attempt to get a certificate for a name.
type failure struct {
	Count int       `json:"count"` // in a row
	At    time.Time `json:"at"`
	Next  time.Time `json:"next"` // not before
	Error string    `json:"error"`
}

// ledger remembers failed attempts durably: a crash loop must not ask an
// authority again and again. Let's Encrypt locks a name out for an hour after
// five failed validations.
type ledger struct {
	path  string
	files host.Files
	log   *slog.Logger

	mu       sync.Mutex
	failures map[string]failure
	// trouble is what kept a name from its certificate without the authority
	// having a part in it: a full disk, say.
	trouble map[string]string
}

type ledgerFile struct {
	Schema   int                `json:"schema"`
	Failures map[string]failure `json:"failures"`
}

func newLedger(dir string, log *slog.Logger) *ledger {
	l := &ledger{path: filepath.Join(dir, "issuance.json"), files: host.NewFiles(), log: log, failures: map[string]failure{}, trouble: map[string]string{}}
	data, err := readBounded(l.path, maxLedger)
	if errors.Is(err, fs.ErrNotExist) {
		return l
	}
	var f ledgerFile
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil || f.Schema != ledgerSchema {
		log.Warn("the record of failed certificates can not be read and starts anew", "error", err, "schema", f.Schema)
		return l
	}
	for name, v := range f.Failures {
		l.failures[name] = v
	}
	return l
}

// pauseAfter is how long to wait after n failures in a row. The first steps
// are short, for a name whose address record was just set.
func pauseAfter(n int) time.Duration {
	steps := []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 20 * time.Minute, time.Hour}
	if n > len(steps) {
		return 3 * time.Hour
	}
	return steps[n-1]
}

type issueFunc func(context.Context, *x509.CertificateRequest) (*certmagic.IssuedCertificate, error)

// issue asks the authority, unless it is too soon after a failure. Errors
// forbid certmagic's own retries: a handshake waits for them.
func (l *ledger) issue(ctx context.Context, csr *x509.CertificateRequest, ask issueFunc) (*certmagic.IssuedCertificate, error) {
	name := strings.Join(csr.DNSNames, ",")
	if f, wait := l.waiting(name); wait {
		return nil, certmagic.ErrNoRetry{Err: fmt.Errorf("the last attempt failed, the next is after %s: %s",
			f.Next.UTC().Format(time.RFC3339), f.Error)}
	}
	cert, err := ask(ctx, csr)
	l.record(name, err)
	if err != nil {
		l.log.Error("no certificate", "host", name, "error", oneLine(err))
		return nil, certmagic.ErrNoRetry{Err: err}
	}
	l.log.Info("got a certificate", "host", name)
	return cert, nil
}

func (l *ledger) waiting(name string) (failure, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, failed := l.failures[name]
	return f, failed && time.Now().Before(f.Next)
}

// last is why the last attempt for the name failed; empty if it did not.
func (l *ledger) last(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, failed := l.failures[name]; failed {
		return f.Error
	}
	return l.trouble[name]
}

// greeted records how a handshake for the name went.
func (l *ledger) greeted(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		delete(l.trouble, name)
		return
	}
	if _, known := l.failures[name]; known {
		return
	}
	if l.trouble[name] == "" {
		l.log.Error("no certificate", "host", name, "error", oneLine(err))
	}
	l.trouble[name] = oneLine(err)
}

// A person who asks gets a few attempts at once, and then one now and then:
// Let's Encrypt takes five failures, and one more every 12 minutes.
const (
	freeAttempts = 3
	thenEvery    = 15 * time.Minute
)

// forgive lets the next attempt for the name begin at once, within those limits.
func (l *ledger) forgive(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, failed := l.failures[name]; failed && (f.Count < freeAttempts || time.Since(f.At) >= thenEvery) {
		f.Next = time.Time{}
		l.failures[name] = f
	}
}

func (l *ledger) record(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, failed := l.failures[name]
	switch {
	case err == nil && !failed:
		return
	case err == nil:
		delete(l.failures, name)
	default:
		now, n := time.Now(), old.Count+1
		l.failures[name] = failure{Count: n, At: now.UTC(), Next: now.Add(pauseAfter(n)).UTC(), Error: oneLine(err)}
	}
	l.save()
}

// keep forgets names that are no longer hosts.
func (l *ledger) keep(known func(string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.trouble, func(name, _ string) bool { return !known(name) })
	before := len(l.failures)
	for name := range l.failures {
		if !known(name) {
			delete(l.failures, name)
		}
	}
	if len(l.failures) != before {
		l.save()
	}
}

func (l *ledger) save() {
	data, err := json.MarshalIndent(ledgerFile{Schema: ledgerSchema, Failures: l.failures}, "", "  ")
	if err == nil {
		err = l.files.Write(l.path, data, ownAttr())
	}
	if err != nil {
		l.log.Error("the record of failed certificates was not kept", "error", err)
	}
}

// maxReason bounds the text of an error that is kept, in bytes.
const maxReason = 600

func oneLine(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	if len(s) > maxReason {
		s = s[:maxReason] + "…"
	}
	return s
}
