// SPDX-License-Identifier: AGPL-3.0-or-later

// Package appliance is the running box: its words (Config, Release, Job,
// Finding, Routes) and its use cases (keep the stacks running, swap a
// container, tell the status).
//
// It imports the stacks and backups roots, step and host; its tool rooms
// (engine, edge, state, ...) import it and never each other. It declares the
// small interfaces that those rooms fill, and cmd joins them. It must never
// know Docker, Caddy, SQL or a terminal.
package appliance
