// SPDX-License-Identifier: AGPL-3.0-or-later

// Package backups is restic behind one door: the program itself for now, and
// later repositories, snapshots, restores and drills.
//
// It imports nothing else of ours; what it needs of the machine (a durable
// writer, running a program) it declares as interfaces that cmd fills. It must
// never download restic, and never run one that it has not verified.
package backups
