// SPDX-License-Identifier: AGPL-3.0-or-later

// Package migrate brings the database of a stack to the schema that its release
// needs, with goose. The migrations are foreign code: they run in a child of
// our binary, in a transient systemd unit, with the stack's uid, and see
// nothing of the machine but the database's folder and themselves.
//
// It imports the appliance root, the stacks root and host. It must never open a
// stack's database in this process as root, run two migrations of one stack at
// the same time, or apply them out of order.
package migrate
