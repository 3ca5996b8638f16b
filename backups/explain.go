// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// restic's exit codes, from its documentation. One that is not known here is a
// failure.
const (
	codeOK           = 0
	codeFailed       = 1
	codeIncomplete   = 3
	codeNoRepository = 10
	codeLocked       = 11
	codeNoKey        = 12
	codeInterrupted  = 130
	codeKilled       = 128 + 9
	codeTerminated   = 128 + 15
)

// problem makes a [*Problem] about r; pairs are names and values of arguments.
func (r Repository) problem(id string, cause error, pairs ...string) *Problem {
	args := map[string]string{"repository": r.Name}
	for i := 0; i+1 < len(pairs); i += 2 {
		args[pairs[i]] = pairs[i+1]
	}
	return &Problem{ID: id, Args: args, Err: cause}
}

// failed is the problem that there is no other words for.
func (r Repository) failed(err error) *Problem {
	return r.problem("backups.failed", err, "detail", short(err.Error(), 300))
}

// cause is what restic said, for the log.
func (o output) cause() error {
	return fmt.Errorf("restic ended with code %d: %s", o.Code, o.detail())
}

// explain turns a run that did not end well into what a person can act on.
func (r Repository) explain(o output) *Problem {
	err := o.cause()
	if o.Code != codeOK && o.silent() {
		return r.problem("backups.killed", err)
	}
	switch o.Code {
	case codeNoRepository:
		return r.explainMissing(err)
	case codeLocked:
		return r.problem("backups.locked", err, "by", holder(o.exit))
	case codeNoKey:
		return r.explainKey(err)
	case codeInterrupted, codeTerminated:
		return r.problem("backups.interrupted", err)
	case codeKilled:
		return r.problem("backups.killed", err)
	default:
		return r.explainWords(o)
	}
}

// explainWords is for the codes that stand for many things.
func (r Repository) explainWords(o output) *Problem {
	all := o.everything()
	for _, s := range signs() {
		for _, words := range s.words {
			if strings.Contains(all, words) {
				return r.problem(s.id, o.cause(), "address", r.URL, "file", r.PasswordFile)
			}
		}
	}
	return r.problem("backups.failed", o.cause(), "detail", o.detail())
}

// sign is a problem, and the words by which it is known.
type sign struct {
	id    string
	words []string
}

// signs are looked for in this order: what is near to the cause comes first.
func signs() []sign {
	return append(signsOfServer(), []sign{
		{"backups.password-file", []string{"Resolving password failed", "an empty password is not allowed"}},
		{"backups.disk-full", []string{"no space left on device", "disk quota exceeded", "507 Insufficient Storage"}},
		{"backups.config-lost", []string{"config file has zero size", "config or key", "LoadRaw(<config/", "already contains keys"}},
		{"backups.keys-lost", []string{"LoadRaw(<key/"}},
		{"backups.lock-damaged", []string{"invalid lock file"}},
		{"backups.repository-damaged", signsOfDamage()},
		{"backups.unreachable", signsOfNetwork()},
		// ssh ended without a word of its own that came through: it may be any of these.
		{"backups.no-session", []string{"unable to start the sftp session"}},
	}...)
}

func signsOfServer() []sign {
	return []sign{
		{"backups.no-ssh", []string{`"ssh": executable file not found`}},
		{"backups.not-trusted", []string{"Host key verification failed", "host key is known for", "REMOTE HOST IDENTIFICATION HAS CHANGED", "x509: ", "tls: failed to verify"}},
		{"backups.refused", []string{
			"Permission denied (", "401 Unauthorized", "403 Forbidden", "(401)", "(403)",
			"Access Denied", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "does not exist in our records",
		}},
	}
}

func signsOfDamage() []string {
	return []string{
		"ciphertext verification failed", "invalid data returned", "not found in repository",
		"not found in index", "unexpected pack size",
	}
}

func signsOfNetwork() []string {
	return []string{
		"dial tcp", "connection refused", "no such host", "i/o timeout", "connection reset by peer", "network is unreachable",
		"no route to host", "TLS handshake timeout", "connection lost", "broken pipe",
		// ssh's own words
		"ssh: connect to host", "Could not resolve hostname", "Connection timed out", "Connection closed by", "Connection reset by",
	}
}

func hasAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// explainMissing tells a folder without a repository from a repository that
// lost its config file, where it can look.
func (r Repository) explainMissing(cause error) *Problem {
	if r.Kind() == Local && (r.holds("keys") || r.holds("snapshots") || r.holds("index")) {
		return r.problem("backups.config-lost", cause, "address", r.URL)
	}
	return r.problem("backups.no-repository", cause, "address", r.URL)
}

// explainKey tells a wrong password from lost keys, where it can look: restic
// says the same of both.
func (r Repository) explainKey(cause error) *Problem {
	switch {
	case r.Kind() != Local:
		return r.problem("backups.no-key-fits", cause, "file", r.PasswordFile)
	case !r.holds("keys"):
		return r.problem("backups.keys-lost", cause, "address", r.URL)
	default:
		return r.problem("backups.wrong-password", cause, "file", r.PasswordFile)
	}
}

// holds tells whether a folder of a local repository has anything in it.
func (r Repository) holds(folder string) bool {
	found, err := filepath.Glob(filepath.Join(escape(r.URL), folder, "*"))
	return err == nil && len(found) > 0
}

// escape makes a path one that [filepath.Glob] takes by its letters.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

var holderForm = regexp.MustCompile(`locked (?:exclusively )?by PID (\d+) on (\S+)`)

// holder is who has the lock, as restic tells it.
func holder(message string) string {
	if m := holderForm.FindStringSubmatch(message); m != nil {
		return m[2] + " (" + m[1] + ")"
	}
	return "?"
}

// stopped is the problem when the call itself could not be made, or was ended
// by its context.
func (r Repository) stopped(ctx context.Context, err error) *Problem {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return r.problem("backups.interrupted", errors.Join(err, context.Cause(ctx)))
	}
	return r.failed(err)
}
