// SPDX-License-Identifier: AGPL-3.0-or-later

// Package state keeps the box's own memory in one SQLite file: the row of each
// stack that says what runs, the journal of jobs, counters, and when the tasks
// of the schedule last ran.
//
// It imports the appliance root, step, host and goose. It must never decide
// what should run, and never delete or replace a file that it can not read.
package state
