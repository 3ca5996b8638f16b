// SPDX-License-Identifier: AGPL-3.0-or-later

// Package bundle builds, verifies and opens bundles: one release of a stack as
// one verifiable thing. Its identity is its digest.
//
// It imports the stacks root. It must never trust a name or a size that an
// archive claims, and never write outside the folder that it was given.
package bundle
