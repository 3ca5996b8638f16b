// SPDX-License-Identifier: AGPL-3.0-or-later

// Package migrate works on the data of stacks: it brings a database to the schema
// that a release needs, with goose, and copies, measures, saves and loads data.
// Migrations, facts and files are foreign: they are touched by a child of our
// binary only, in a transient systemd unit, with the stack's uid, that sees
// nothing of the machine but what it works on.
//
// It imports the appliance root, the stacks root and host. It must never open a
// stack's database in this process as root, follow a link out of a volume, write
// to the generation that data is copied from or show it to migrations, run two
// migrations of one stack at the same time, or apply them out of order.
package migrate
