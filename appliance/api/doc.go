// SPDX-License-Identifier: AGPL-3.0-or-later

// Package api is how other processes of this machine speak to the daemon:
// typed verbs as JSON over HTTP on a unix socket. [Serve] is the daemon's side,
// [Client] everybody else's.
//
// It imports the appliance root and step. It must never listen on a network,
// decide anything, or believe what a caller says about itself: the kernel says
// who is calling.
package api
