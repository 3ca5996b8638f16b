// SPDX-License-Identifier: AGPL-3.0-or-later

// Package e2e holds the end-to-end tests: the real installer on bare Debian
// machines, driven from outside as its users would. They have the build tag
// e2e, need root, and run with `make test`; the long campaigns run with
// `make torture`. A test that counts requests under load has the machine for
// itself; the others say t.Parallel, and two of them run at a time: much of an
// installation waits for disks and archives.
//
// It is test support: it may import anything, nothing may import it, and it must
// never fake a part of the product.
package e2e
