// SPDX-License-Identifier: AGPL-3.0-or-later

// Package edge is the box's front door: Caddy as a library with a static
// configuration, and our modules in it. Hosts, upstreams and the gate come
// from one document that the daemon sends over a unix socket and that is kept
// durably here, so that nothing is ever reloaded. [Run] is the process,
// [Client] is how the daemon speaks to it.
//
// It imports the root appliance and host, and it is the only room that may
// import Caddy and certmagic. It must never trust what a client says about
// itself, send a request to an upstream twice, or write a secret into the log.
package edge
