// SPDX-License-Identifier: AGPL-3.0-or-later

// Package lossydisk is a disk that loses, at a power cut, part of what was
// written and not flushed: whole writes, or single units of them, in any order.
// A virtual machine reaches it by the NBD protocol.
//
// It is test support: it may import nothing of ours, and it must never lose what
// was flushed, nor keep data elsewhere than in memory.
package lossydisk
