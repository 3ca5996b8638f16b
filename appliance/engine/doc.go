// SPDX-License-Identifier: AGPL-3.0-or-later

// Package engine is the only room that knows Docker: it loads images, makes
// locked-in containers and tells how they are. It speaks with Engine 20.10
// (Debian 12), 26 (Debian 13) and 29 and newer.
//
// It imports the appliance root and the stacks root. It must never pull from a
// registry, publish a port, mount Docker's socket or a folder that it was not
// given, touch a container or an image that is not ours, or decide what runs.
package engine
