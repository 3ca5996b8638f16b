// SPDX-License-Identifier: AGPL-3.0-or-later

// Package doctor looks at the machine and tells what is wrong with it: findings,
// each with why it matters and what to do. The daemon runs it on a schedule, and
// the command line runs it itself, also while the daemon is dead.
//
// It imports the appliance root and appliance/host. It only looks: it must never
// change anything, repair anything, or know how a finding is shown.
package doctor
