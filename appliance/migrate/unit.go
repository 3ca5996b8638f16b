// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// Where the child sees what it was given.
const (
	inData       = "/data"
	inMigrations = "/migrations"
)

// memoryLimit bounds the unit where the machine has cgroup v2; the Go runtime
// holds itself below it anywhere.
const memoryLimit = 256 << 20

// UnitName is the unit in which the migrations of a stack run.
func UnitName(stack string) string { return "rochdale-migrate-" + stack + ".service" }

// job is a unit that is ready to run and what it will read.
type job struct {
	host.Transient
	asked []byte
}

func (m Migrator) transient(verb string, r appliance.MigrateRequest) (job, error) {
	if err := check(r); err != nil {
		return job{}, err
	}
	body, err := ask(verb, r)
	if err != nil {
		return job{}, err
	}
	properties, err := m.properties(r)
	if err != nil {
		return job{}, err
	}
	return job{host.Transient{
		Unit: UnitName(r.Stack), Properties: properties, Name: m.program, Args: []string{Command},
	}, body}, nil
}

// check refuses what a validated stack can not ask for.
func check(r appliance.MigrateRequest) error {
	switch {
	case !appliance.StackName(r.Stack):
		return fmt.Errorf("migrate stack %q: not a stack's name", r.Stack)
	case r.User <= 0:
		return fmt.Errorf("migrate stack %s: it would run as root", r.Stack)
	case r.Database.Engine != "sqlite" && r.Database.Engine != "postgres":
		return fmt.Errorf("migrate stack %s: unknown database engine %q", r.Stack, r.Database.Engine)
	case r.Database.Engine == "sqlite" && !filepath.IsLocal(r.Database.Path):
		return fmt.Errorf("migrate stack %s: the database %q is not inside its volume", r.Stack, r.Database.Path)
	}
	return nil
}

// plainPath has none of the characters that mean something to systemd.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._-]+$`)

func (m Migrator) properties(r appliance.MigrateRequest) ([]string, error) {
	p := locked()
	binds := []string{"BindReadOnlyPaths=" + m.program, "BindReadOnlyPaths=" + r.Migrations + ":" + inMigrations}
	paths := []string{m.program, r.Migrations}
	if r.Database.Engine == "sqlite" {
		paths = append(paths, r.VolumeDir)
		binds = append(binds, "BindPaths="+r.VolumeDir+":"+inData, "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX",
			// What does not fit in memory is sorted beside the database, not in a tmpfs.
			"Environment=SQLITE_TMPDIR="+inData)
	} else {
		address, _, err := net.SplitHostPort(r.Address)
		if err != nil || net.ParseIP(address) == nil {
			return nil, fmt.Errorf("migrate stack %s: the database's address %q is not an IP address and a port", r.Stack, r.Address)
		}
		binds = append(binds, "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "IPAddressDeny=any", "IPAddressAllow="+address)
	}
	for _, path := range paths {
		if !plainPath.MatchString(path) || filepath.Clean(path) != path {
			return nil, fmt.Errorf("migrate stack %s: %q can not be given to systemd", r.Stack, path)
		}
	}
	return append(p, binds...), nil
}

// locked is the same for every unit. The child begins as root without any power
// but to become the stack's uid, which is the first thing that it does: systemd
// refuses a User= that has no entry in the machine's list of users.
func locked() []string {
	return []string{
		"Description=Rochdale changes the database of a stack",
		"TemporaryFileSystem=/:ro",
		"CapabilityBoundingSet=CAP_SETUID CAP_SETGID",
		"NoNewPrivileges=yes",
		"LockPersonality=yes",
		"MemoryDenyWriteExecute=yes",
		"RestrictNamespaces=yes",
		"RestrictRealtime=yes",
		"RestrictSUIDSGID=yes",
		"PrivateIPC=yes",
		"SystemCallArchitectures=native",
		"SystemCallFilter=@system-service",
		"SystemCallErrorNumber=EPERM",
		"KeyringMode=private",
		"UMask=0077",
		"LimitCORE=0",
		"TasksMax=64",
		"OOMScoreAdjust=500",
		"MemoryMax=" + strconv.Itoa(memoryLimit),
		"MemorySwapMax=0",
		"RuntimeMaxSec=" + strconv.Itoa(int(runtimeLimit.Seconds())),
		"TimeoutStopSec=10",
		"Environment=LC_ALL=C.UTF-8 GOMEMLIMIT=" + strconv.Itoa(memoryLimit*3/4),
	}
}
