// SPDX-License-Identifier: AGPL-3.0-or-later

// Command rochdale is the box's one binary: the installer, the daemon, the edge
// and every command of the operator.
//
// It only wires: it reads flags and streams, joins the rooms through the small
// interfaces that they declare, shows what comes back with one Printer, and is
// the one place that turns an error into text, JSON and an exit code. Nothing
// imports it, and it must never hold a rule of the product.
package main
