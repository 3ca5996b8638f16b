// SPDX-License-Identifier: AGPL-3.0-or-later

// Package shelf keeps small files in the folder of a restic repository: the
// recovery kit lies there, and from there a repository's own key and config
// files are read and put back.
//
// It speaks to a local folder, to SFTP, S3 and restic's rest server with the
// address, the options and the environment that restic gets, so that what is
// reachable for one is reachable for the other. SFTP runs over the ssh program,
// as restic's does: one set of keys, known hosts and settings holds for both.
//
// It may import rochdale/backups and libraries, nothing else of ours; writing
// durably and running ssh are interfaces that cmd fills. It must never touch
// restic's data (packs, indexes, snapshots, locks), read without a bound, or
// show a password.
package shelf
