// SPDX-License-Identifier: AGPL-3.0-or-later

// Package backups is restic behind one door: the program itself, the words for
// repositories and snapshots, what can be done with them, and what a check says
// about whether anything may be forgotten. When, how often and with which data
// is up to the appliance.
//
// It imports nothing else of ours; what it needs of the machine (a durable
// writer, running restic) it declares as interfaces that cmd fills. It must
// never download restic, never run one that it has not verified, never put a
// secret into an argument, and never remove the lock of somebody who is alive.
package backups
