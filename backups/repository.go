// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// Repository is a place where snapshots lie. Nothing in it is a secret: those
// are in the files that it names.
type Repository struct {
	Name         string // a label, part of a unit's name: small letters, digits, dashes
	URL          string // "/srv/backup", "sftp:user@host:path", "s3:https://host/bucket/path" or "rest:https://host/path/"
	PasswordFile string // absolute; holds the repository's password
	EnvFile      string // absolute; lines NAME=VALUE with the credentials of the other side; may be empty
	// Options are restic's own, "sftp.args=-i /etc/rochdale/backup.key" say. They
	// can name programs to run, so they never come from a page.
	Options []string
	// AppendOnly is for a place that lets nothing be deleted: whoever runs it forgets
	// old snapshots and prunes.
	AppendOnly bool
}

// Kind is how a repository is reached.
type Kind string

// The kinds.
const (
	Local Kind = "local"
	SFTP  Kind = "sftp"
	S3    Kind = "s3"
	REST  Kind = "rest"
)

// Kind tells how the repository is reached; empty for an address that is none.
func (r Repository) Kind() Kind {
	scheme, _, found := strings.Cut(r.URL, ":")
	switch {
	case strings.HasPrefix(r.URL, "/"):
		return Local
	case found && (scheme == "sftp" || scheme == "s3" || scheme == "rest"):
		return Kind(scheme)
	default:
		return ""
	}
}

var (
	nameForm   = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	optionForm = regexp.MustCompile(`^(local|sftp|s3|rest)\.[a-z0-9-]+=.+$`)
	// A host or user that begins with a dash would be an option of ssh.
	sftpForm = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:[^:]+$`)
	userForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	hostForm = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$`)
)

// Validate gives a [*Problem] for the first thing that is wrong with the words
// of r. Nothing is asked of the other side, and no file is opened.
func (r Repository) Validate() error {
	if !nameForm.MatchString(r.Name) {
		return r.problem("backups.name", errForm)
	}
	if err := r.validateURL(); err != nil {
		return err
	}
	if !isClean(r.PasswordFile) {
		return r.problem("backups.file", errForm, "file", r.PasswordFile)
	}
	if r.EnvFile != "" && !isClean(r.EnvFile) {
		return r.problem("backups.file", errForm, "file", r.EnvFile)
	}
	for _, o := range r.Options {
		if !optionForm.MatchString(o) || !printable(o) {
			return r.problem("backups.option", errForm, "option", o)
		}
	}
	return nil
}

var errForm = errors.New("not of the form that is asked for")

func (r Repository) validateURL() error {
	_, rest, _ := strings.Cut(r.URL, ":")
	ok := printable(r.URL)
	switch r.Kind() {
	case Local:
		ok = ok && isClean(r.URL) && r.URL != "/"
	case SFTP:
		if strings.HasPrefix(rest, "//") {
			return r.validateServer(r.URL)
		}
		ok = ok && sftpForm.MatchString(rest)
	case S3, REST:
		return r.validateServer(r.withScheme(rest))
	default:
		ok = false
	}
	if !ok {
		return r.problem("backups.address", errForm, "address", r.URL)
	}
	return nil
}

// withScheme completes "s3:host/bucket", which means https.
func (r Repository) withScheme(rest string) string {
	if r.Kind() == S3 && !strings.Contains(rest, "://") {
		return "https://" + rest
	}
	return rest
}

func (r Repository) validateServer(address string) error {
	u, err := url.Parse(address)
	if err != nil || !printable(address) {
		// The text of url.Parse would show a password.
		return r.problem("backups.address", errForm, "address", string(r.Kind())+":…")
	}
	_, secret := u.User.Password()
	switch {
	case secret || u.User != nil && r.Kind() != SFTP:
		return r.problem("backups.address-secret", errForm)
	case u.Scheme == "http" && !nearby(u.Hostname()):
		return r.problem("backups.address-plain", errForm, "address", r.URL)
	case !r.serverForm(u):
		return r.problem("backups.address", errForm, "address", r.URL)
	default:
		return nil
	}
}

func (r Repository) serverForm(u *url.URL) bool {
	if u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || !hostForm.MatchString(u.Hostname()) {
		return false
	}
	path := strings.Trim(u.Path, "/")
	switch r.Kind() {
	case SFTP:
		return path != "" && (u.User == nil || userForm.MatchString(u.User.Username()))
	case S3:
		bucket, _, _ := strings.Cut(path, "/")
		return (u.Scheme == "https" || u.Scheme == "http") && len(bucket) >= 3
	default:
		return u.Scheme == "https" || u.Scheme == "http"
	}
}

// nearby is a machine that is reached without crossing the internet: without
// TLS, credentials can be read on the way.
func nearby(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsPrivate())
}

func isClean(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && printable(path)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
}
