// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"path/filepath"
	"strconv"
)

// Paths tells where things are on a box. Root is "/" on a real machine, and a folder in
// tests and inside images that are prepared from outside.
type Paths struct{ Root string }

func (p Paths) at(elem ...string) string {
	return filepath.Join(append([]string{"/", p.Root}, elem...)...)
}

// Config is the one document that an operator edits.
func (p Paths) Config() string { return p.at("etc/rochdale/rochdale.yaml") }

// ConfigDir holds Config and the secret files beside it.
func (p Paths) ConfigDir() string { return p.at("etc/rochdale") }

// Firewall is the table of the firewall, written by the installer.
func (p Paths) Firewall() string { return p.at("etc/rochdale/firewall.nft") }

// FirewallFolder holds the operator's own rules for the firewall.
func (p Paths) FirewallFolder() string { return p.at("etc/rochdale/firewall.d") }

// GoodConfig is the daemon's copy of the last Config that made sense.
func (p Paths) GoodConfig() string { return p.at("var/lib/rochdale/rochdale.good.yaml") }

// Var is the box's data.
func (p Paths) Var() string { return p.at("var/lib/rochdale") }

// State is the box's own database.
func (p Paths) State() string { return p.at("var/lib/rochdale/state.db") }

// Edge is the folder of the edge: its document and its certificates.
func (p Paths) Edge() string { return p.at("var/lib/rochdale/edge") }

// Stack is the folder of one stack.
func (p Paths) Stack(name string) string { return p.at("var/lib/rochdale/stacks", name) }

// Bundles holds the bundles of a stack, a folder for each digest.
func (p Paths) Bundles(stack string) string { return filepath.Join(p.Stack(stack), "bundles") }

// Volume is a volume of one generation of a stack's data.
func (p Paths) Volume(stack string, generation int64, volume string) string {
	return filepath.Join(p.Generation(stack, generation), volume)
}

// Generation is the folder of one generation of a stack's data.
func (p Paths) Generation(stack string, generation int64) string {
	return filepath.Join(p.Stack(stack), "data", strconv.FormatInt(generation, 10))
}

// Shared is a volume that belongs to no generation: a database server's own, in
// which the generations are databases.
func (p Paths) Shared(stack, volume string) string {
	return filepath.Join(p.Stack(stack), "data", "shared", volume)
}

// DatabasePassword is the password of a stack's own PostgreSQL. Only the stack
// and root can read it.
func (p Paths) DatabasePassword(stack string) string {
	return filepath.Join(p.Stack(stack), "secrets", "database-password")
}

// Secrets is the folder of a stack's secrets.
func (p Paths) Secrets(stack string) string { return filepath.Join(p.Stack(stack), "secrets") }

// Backups is where the box keeps its own repository and prepares snapshots.
func (p Paths) Backups() string { return p.at("var/lib/rochdale/backup") }

// Stage is where a snapshot of a kind is prepared.
func (p Paths) Stage(kind BackupKind) string {
	return filepath.Join(p.Backups(), "stage", string(kind))
}

// StageNumber is where further snapshots of a kind are prepared, 2 and so on, while
// earlier ones are still read; 1 is Stage.
func (p Paths) StageNumber(kind BackupKind, n int) string {
	if n == 1 {
		return p.Stage(kind)
	}
	return p.Stage(kind) + "-" + strconv.Itoa(n)
}

// Stages holds all stages.
func (p Paths) Stages() string { return filepath.Join(p.Backups(), "stage") }

// Parked holds the last dump of the databases of a stack that is stopped; see park.
// It is on the file system of Stage, which has second names of its files.
func (p Paths) Parked(stack string) string { return filepath.Join(p.Backups(), "stopped", stack) }

// ParkedDatabases are the dumps in Parked, and ParkedRecord says what they are.
func (p Paths) ParkedDatabases(stack string) string {
	return filepath.Join(p.Parked(stack), "databases")
}

// ParkedRecord says what is in ParkedDatabases.
func (p Paths) ParkedRecord(stack string) string {
	return filepath.Join(p.Parked(stack), "parked.json")
}

// BoxRepository is the repository on the box itself.
func (p Paths) BoxRepository() string { return filepath.Join(p.Backups(), "box") }

// RepositoryPassword is the password of a repository; only root can read it.
func (p Paths) RepositoryPassword(name string) string {
	return filepath.Join(p.ConfigDir(), "backups", name+".password")
}

// RepositoryEnv holds the credentials of the other side of a repository, lines
// NAME=VALUE; it need not be there.
func (p Paths) RepositoryEnv(name string) string {
	return filepath.Join(p.ConfigDir(), "backups", name+".env")
}

// Restored is where a snapshot is laid out before it is used: on the file system
// of the stack's data, so that it can be moved there.
func (p Paths) Restored(stack, id string) string {
	return filepath.Join(p.Stack(stack), "restored", id)
}

// Replaced is where a restore puts files of shared volumes that made way for those of
// the snapshot. No container sees it.
func (p Paths) Replaced(stack, id string) string {
	return filepath.Join(p.Stack(stack), "replaced", id)
}

// MachineID tells this machine from all others.
func (p Paths) MachineID() string { return p.at("etc/machine-id") }

// Run is the folder of sockets.
func (p Paths) Run() string { return p.at("run/rochdale") }

// DaemonSocket takes the daemon's verbs.
func (p Paths) DaemonSocket() string { return p.at("run/rochdale/daemon.sock") }

// DaemonLock is held by the one daemon that runs. It lies beside the state, and
// not in Run, which systemd removes and makes anew.
func (p Paths) DaemonLock() string { return p.at("var/lib/rochdale/daemon.lock") }

// EdgeSocket takes the edge's document. It lies in a folder that the edge owns.
func (p Paths) EdgeSocket() string { return p.at("run/rochdale-edge/edge.sock") }

// Programs holds the binaries, a folder for each version, and one link a unit.
func (p Paths) Programs() string { return p.at("usr/local/lib/rochdale") }
