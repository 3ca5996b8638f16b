// SPDX-License-Identifier: AGPL-3.0-or-later

// Package restictest gives tests of every room a real restic, a machine that
// runs it, repositories in temporary folders, and a real object store. It is
// support for tests: no program has it in it.
//
// It imports backups for the words, and appliance/host to run programs. It must
// never download restic, and never give out another one than the product's: it
// takes the embedded one, or builds the same from the module that pins it.
package restictest
