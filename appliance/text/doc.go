// SPDX-License-Identifier: AGPL-3.0-or-later

// Package text holds what people read, in each language: for every message id a
// title, why it matters and what to do, or a plain label with a title alone.
//
// It imports the appliance root for the words Message and Finding. It must never
// decide which message to give, nor write to a terminal or a page.
package text
