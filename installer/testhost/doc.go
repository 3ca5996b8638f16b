// SPDX-License-Identifier: AGPL-3.0-or-later

// Package testhost boots bare Debian machines for end-to-end tests and for `make demo`.
//
// A machine is a copy of a debootstrap root (cached outside of the repository) that systemd-nspawn boots on a bridge of its
// own: real systemd as PID 1, real apt, a real Docker Engine, real nftables, real reboots. What needs a real kernel (cgroup v2,
// AppArmor, another architecture) boots under QEMU with the same methods; see Host.
//
// It is test support: it may run programs and change the build machine (packages, one bridge, one NAT rule, folders under
// CacheDir and /run/rochdale-test), and it must never be imported by anything that ships. It ends only processes that it
// started, by their id.
//
// # What was found while building it
//
//   - Every machine has cgroups of its own below rochdale-test/ in every hierarchy of the build machine. Without that, nspawn
//     puts each machine's systemd into the same "payload" group of the same parent, and two machines manage each other's services.
//   - Where the build machine mounts cgroup v1 controllers, both Debian 12 (systemd 252) and Debian 13 (systemd 257) boot in
//     hybrid mode without any option: the refusal of systemd 256+ to boot on cgroup v1 is skipped in containers. The controllers
//     arrive read-only; the base root has a oneshot unit that makes them writable before sysinit.target, and then Docker 20.10
//     and Docker 26.1 run containers with overlay2 and memory limits that bite. A new cpuset group has no processors until they
//     are copied from its parent; Docker fails without them.
//   - CAP_SYS_MODULE and CAP_SYS_TIME are dropped: a test machine must not load modules into the build machine's kernel or set
//     its clock, and without kmod installed systemd-modules-load fails on Debian 13 where the capability is present.
//   - In Debian 13 docker.io only recommends docker-cli: without recommended packages there is an engine and no `docker` command.
//   - MemoryMax= and other limits of systemd units are not enforced in a machine on cgroup v1; those of Docker are.
//   - A virtual machine hangs on the same bridge by a tap device and takes its name and address from the kernel's command line, so
//     that one prepared disk serves all of them and a certificate authority reaches their ports 80 and 443 as it does a
//     container's. Closing an SSH session leaves the program running, so programs there are killed by their recorded group.
//   - Under software emulation, Debian's kernel alone takes 5 to 15 s from the first instruction to process 1. A small machine does
//     that once; each life after it begins with the memory of one that waits, half a second later. What is sent to its serial line
//     before that memory is there is lost, so its program says when it listens.
//   - ext4 does not survive a disk that tears a block of 4096 bytes into sectors of 512. Half of a superblock does not match its
//     checksum, and e2fsck wants a person to name another one. Of the journal's last commit block, Linux 6.1 wants all eight sectors
//     ("JBD2: journal transaction N is corrupt", and no mount), though only the first one says something; e2fsck -p mends that.
//     So a lossydisk with ext4 has units of 4096 bytes.
//   - Copying a 260 MB root takes half a second on a warm page cache, so clones are plain copies, not overlays.
package testhost
