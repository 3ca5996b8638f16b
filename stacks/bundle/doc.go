// SPDX-License-Identifier: AGPL-3.0-or-later

// Package bundle builds, verifies and opens bundles: one release of a stack as
// one verifiable thing.
//
// A bundle is a tar archive under zstd. Its first entry, INDEX, names every
// other file with its size and SHA-256; the SHA-256 of INDEX is the bundle's
// digest and its identity, whatever the compression and whichever of the images
// an archive carries: INDEX names the images of all architectures, and a thin
// archive leaves some of them out. Then come images.lock, the stack's files
// under stack/, and the images under images/NAME/ARCH.tar. The archive of an
// image is one that both of Docker's stores load; it is written in one way only,
// names nothing, and holds nothing but what images.lock says.
//
// It imports the stacks root. It must never trust a name or a size that an
// archive claims, and never write but through the durable writer that it was
// given, into the folder that it was given.
package bundle
