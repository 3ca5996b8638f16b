// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"time"

	"rochdale/backups"
)

// Shelf is the folder of one repository.
type Shelf interface {
	// Put makes or replaces the file. After nil it is there as durably as the
	// place can promise; after an error there is the old file, the new one or
	// none, never a part. It may be repeated.
	Put(ctx context.Context, name string, content []byte) error
	// Get gives the file. The error has [fs.ErrNotExist] in it when there is
	// none.
	Get(ctx context.Context, name string) ([]byte, error)
	// List gives the names of the files directly in a folder ("" is the
	// repository's own), sorted and without the folder. Files with other than
	// our names are left out. A folder that is not there is empty.
	List(ctx context.Context, folder string) ([]string, error)
}

const (
	// MaxFile bounds one file, in bytes.
	MaxFile = 1 << 20
	// maxFiles bounds the names of a folder.
	maxFiles = 1000
	// patience bounds one call.
	patience = 2 * time.Minute
)

// Place is where a repository lies, in restic's words.
type Place struct {
	URL     string            // a folder, sftp:, s3: or rest:
	Options []string          // as after -o: "sftp.args=-i /etc/key"
	Env     map[string]string // credentials: AWS_ACCESS_KEY_ID, …
}

// Disk is the machine's durable writer, as far as a local shelf needs it.
type Disk interface {
	backups.Disk
	// Mkdir makes the folder and those above it, durably. One that is there is
	// left as it is.
	Mkdir(path string, mode fs.FileMode) error
}

// Talker runs a program with in as its standard input and out as its standard
// output, given to it as they are, and returns when it has ended. It is stopped
// when ctx is done. An end with a code other than 0 is an error that holds what
// the program said.
type Talker interface {
	Talk(ctx context.Context, argv []string, in io.Reader, out io.Writer) error
}

// Machine is what a shelf needs of the machine.
type Machine struct {
	Disk   Disk
	Talker Talker
}

// Open gives the shelf of a place. It only reads the address: nothing is
// reached yet.
func Open(p Place, m Machine) (Shelf, error) {
	kind, rest := kindOf(p.URL)
	at := spot{address: Plain(p.URL)}
	switch kind {
	case backups.Local:
		return openFolder(rest, at, m.Disk)
	case backups.SFTP:
		return openSFTP(rest, at, p, m.Talker)
	case backups.S3:
		return openS3(rest, at, p)
	case backups.REST:
		return openRest(rest, at, p)
	default:
		return nil, at.badAddress(fmt.Errorf("there is no shelf for repositories of the kind %q", kind))
	}
}

// nameForm is what a file may be called: nothing hidden, one folder at most.
var nameForm = regexp.MustCompile(`^([a-z0-9]+/)?[a-z0-9][a-z0-9.-]{0,99}$`)

// spot is a shelf's address in the words of its problems; it holds no secret.
type spot struct{ address string }

func (s spot) name(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q is no name for a file beside a repository", name)
	}
	return nil
}

func (s spot) fits(name string, content []byte) error {
	if err := s.name(name); err != nil {
		return err
	}
	if len(content) > MaxFile {
		return s.large(name)
	}
	return nil
}

// plainNames keeps the names that are in our form, sorted, each once.
func plainNames(names []string) []string {
	var kept []string
	for _, n := range names {
		if nameForm.MatchString(n) {
			kept = append(kept, n)
		}
	}
	return sortedOnce(kept)
}

// read takes all of a file that gives at most MaxFile bytes.
func (s spot) read(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, s.failed(err)
	}
	if len(data) > MaxFile {
		return nil, s.large(name)
	}
	return data, nil
}

func (s spot) problem(id string, cause error) error {
	return &backups.Problem{ID: id, Args: map[string]string{"address": s.address}, Err: cause}
}

func (s spot) badAddress(cause error) error { return s.problem("kit.shelf-address", cause) }

func (s spot) missing(name string) error {
	args := map[string]string{"address": s.address, "file": name}
	return &backups.Problem{ID: "kit.shelf-missing", Args: args, Err: fs.ErrNotExist}
}

func (s spot) large(name string) error {
	args := map[string]string{"address": s.address, "file": name}
	return &backups.Problem{ID: "kit.shelf-large", Args: args, Err: fmt.Errorf("it has more than %d bytes", MaxFile)}
}

// failed tells a place that refuses from one that does not answer.
func (s spot) failed(cause error) error {
	var known *backups.Problem
	switch {
	case cause == nil || errors.As(cause, &known):
		return cause
	case errors.Is(cause, fs.ErrNotExist):
		// A folder that is gone: only a missing file may look like one.
		return s.problem("kit.shelf-unreachable", errors.New(cause.Error()))
	case errors.Is(cause, fs.ErrPermission):
		return s.problem("kit.shelf-denied", cause)
	default:
		return s.problem("kit.shelf-unreachable", cause)
	}
}
