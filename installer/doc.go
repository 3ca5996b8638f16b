// SPDX-License-Identifier: AGPL-3.0-or-later

// Package installer turns a bare machine into a running appliance, and back:
// preflight gathers facts and judges them, Plan makes a plan of idempotent
// steps, Uninstall makes the plan that undoes them. Self lets another version of
// our own program take over, and the one before it come back.
//
// It imports appliance, appliance/step, appliance/host and stacks. What it needs of the
// running daemon it declares as [Box]; cmd joins. It must never print, ask a
// person, or know Docker, Caddy or SQL.
package installer
