// SPDX-License-Identifier: AGPL-3.0-or-later

// Package walk walks one order from sign-up to the ledger, as people with a
// browser without JavaScript would: it reads pages, fills in the forms that it
// finds on them and follows their redirects. Tests and the demonstration use it
// against a running platform.
//
// It may import the standard library and an HTML parser. It must never reach
// around the pages: what it can do, a member can do.
package walk
