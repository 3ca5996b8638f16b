// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import "context"

// Machine runs restic. On a box this is a unit of its own, so that restic does
// not die with the daemon. It must not have its own PID namespace: restic tells
// by the number of a process whether a lock is stale.
type Machine interface {
	// Restic runs one call and waits for its end. A program that ends with a
	// code other than 0 is no error, its code is in Ended; an error says that it
	// could not be run or that ctx ended, with what there was of the output in
	// Ended all the same. When ctx ends, the program gets SIGTERM, and SIGKILL
	// only some seconds later, so that it can give back its locks.
	Restic(ctx context.Context, c Call) (Ended, error)
}

// Call is one run of restic. Nothing in it is a secret: those are in the files
// that it names.
type Call struct {
	Repository   string   // its name, for the name of a unit
	Program      string   // absolute path of restic
	Args         []string // as they are; no shell
	Env          []string // NAME=VALUE, added to a minimal environment
	EnvFile      string   // more lines NAME=VALUE, for the program alone; may be empty
	PasswordFile string   // given as RESTIC_PASSWORD_FILE
	Dir          string   // working folder; empty: any
	Memory       int64    // bytes that the program may use; 0: no limit
}

// Ended is how a run of restic ended.
type Ended struct {
	Code   int    // 128 and the number of the signal, when one ended it
	Stdout []byte // the first [MaxStdout] bytes
	Stderr []byte // the last [MaxStderr] bytes
}

// What a machine keeps of the output, in bytes. A list of 20,000 snapshots fits.
const (
	MaxStdout = 32 << 20
	MaxStderr = 64 << 10
)
