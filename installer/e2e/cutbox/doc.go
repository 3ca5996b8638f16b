// SPDX-License-Identifier: AGPL-3.0-or-later

// Command cutbox is process 1 of a small machine whose power is cut while it
// works. Each life looks first at what the one before left on the disk, then
// goes on with what was interrupted, and then works until the power goes: rows
// and journalled plans in the box's state, durable files and folders, and the
// ledger of our own updates, all by the product's code. On the serial line it
// says what it found ("found THING N"), what is durable ("ack THING N"), what
// must not be ("bad ..."), and that the kernel does not mount the disk
// ("refused ...").
//
// It is test support: it may import anything, nothing may import it, and it must
// never mend what the product left: only the product may.
package main
