// SPDX-License-Identifier: AGPL-3.0-or-later

// Package kit is the recovery kit: all that a new machine needs to read the
// backups of a lost one, in a file that only the people who hold the printed
// pages can open.
//
// A printing makes one secret, splits it over pages and forgets it; the box
// keeps the public half and seals a new kit with it at every change. Whoever has
// k of the n pages opens any kit of that printing.
//
// The formats are plain, so that a kit opens without this program, too. The kit
// is JSON in an age file (age-encryption.org/v1, X25519). The secret is 32
// bytes, the little-endian number of the age identity. A page holds one share of
// it: Shamir's scheme over the integers modulo the prime
// 2^252 + 27742317777372353535851937790883648493, with the page's number as x.
// How a page is written in characters is said at [Page.Lines].
//
// It may import rochdale/backups, its shelves and libraries, nothing else of
// ours. It must never write a secret anywhere: what it gives is written by its
// callers, and the secret itself only ever to paper.
package kit
