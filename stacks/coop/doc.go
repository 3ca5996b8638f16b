// SPDX-License-Identifier: AGPL-3.0-or-later

// Package coop is the platform of a co-operative: its words (members,
// providers, offerings, requests, quotes, jobs, stops, offers, events, proofs,
// postings, settings), its rules (who may do what, how money is split, who is
// offered a job) and its use cases, each of which is one transaction.
//
// Delivery is the first template: a flow of states and the pages that speak of
// shops and couriers. Other verticals are other flows over the same words.
//
// # Tries
//
// Nothing that a stranger tries is written to the database. Tries are counted in
// memory, in a bounded number of entries, by address prefix and by account
// together with it. No account can be locked from outside: a browser that has
// signed in to it before carries a mark and has an allowance of its own, and when
// very many strangers try one account, they wait for each other instead. Wrong
// delivery PINs are the exception: who tries is signed in and carries the order,
// so their tries are events, and they last as long as the PIN.
//
// It may import the standard library and the identifier library only. It
// declares what it needs as small interfaces that its subpackages fill, and it
// must never know SQL, HTTP, HTML or the machine it runs on.
package coop
