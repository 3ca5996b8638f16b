// SPDX-License-Identifier: AGPL-3.0-or-later

// Package e2e holds the end-to-end tests: the real installer on bare Debian
// machines, driven from outside as its users would. They have the build tag
// e2e, need root, and run with `make test`; the long campaigns run with
// `make torture`.
//
// It is test support: it may import anything, nothing may import it, and it must
// never fake a part of the product.
package e2e
