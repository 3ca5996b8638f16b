// SPDX-License-Identifier: AGPL-3.0-or-later

// Package box is a bare Debian test machine beside a real certificate
// authority, on which the real installer runs: the end-to-end tests, the demo
// and the install benchmark all start from it.
//
// It is test support: it may import anything, and nothing that ships may
// import it. It never fakes a part of the product.
package box
