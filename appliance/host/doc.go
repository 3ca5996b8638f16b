// SPDX-License-Identifier: AGPL-3.0-or-later

// Package host is the only door to the machine: it runs programs by argument
// list, talks to systemd, apt and nftables, and writes files so that they are
// on the disk when the call returns.
//
// It imports nothing of ours, and it is the only room that may import os/exec.
// It must never pass a string to a shell, decide what should be done, or print.
package host
