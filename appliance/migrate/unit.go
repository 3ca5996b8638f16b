// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// Where the child sees what it was given.
const (
	inData       = "/data"
	inMigrations = "/migrations"
	inFrom       = "/from"     // volumes to read
	inTo         = "/to"       // volumes to write
	inFolder     = "/snapshot" // of databases
	inAside      = "/aside"    // what makes way, to write
)

// memoryLimit bounds the unit where the machine has cgroup v2; the Go runtime
// holds itself below it anywhere.
const memoryLimit = 256 << 20

// UnitName is the unit in which the migrations of a stack run.
func UnitName(stack string) string { return "rochdale-migrate-" + stack + ".service" }

// DataUnit is the unit in which one kind of work on the data of a stack is done.
func DataUnit(verb, stack string) string { return "rochdale-data-" + verb + "-" + stack + ".service" }

// order is one run of the child.
type order struct {
	stack string
	unit  string
	about string        // what people read in the machine's list of units
	limit time.Duration // after which it is ended, whoever waits for it
	binds []bind
	// addresses are those that it may reach: of database servers.
	addresses []string
	// temp is where SQLite sorts what does not fit in memory: beside a database,
	// not in a tmpfs. "" when it does not sort.
	temp    string
	request request
}

// bind is something of the machine that the child sees.
type bind struct {
	path   string
	inside string // "": the same path
	write  bool
}

// job is a unit that is ready to run and what it will read.
type job struct {
	host.Transient
	asked []byte
}

func (r runner) job(o order) (job, error) {
	if !appliance.StackName(o.stack) {
		return job{}, fmt.Errorf("work for stack %q: not a stack's name", o.stack)
	}
	if o.request.User <= 0 {
		return job{}, fmt.Errorf("work for stack %s: it would be done as root", o.stack)
	}
	o.request.Schema = wireSchema
	asked, err := json.Marshal(o.request)
	if err != nil {
		return job{}, err
	}
	if len(asked) >= maxRequest {
		return job{}, fmt.Errorf("work for stack %s: the request has %d bytes", o.stack, len(asked))
	}
	properties, err := r.cage(o)
	if err != nil {
		return job{}, fmt.Errorf("work for stack %s: %w", o.stack, err)
	}
	return job{host.Transient{Unit: o.unit, Properties: properties, Name: r.program, Args: []string{Command}}, asked}, nil
}

// plainPath has none of the characters that mean something to systemd.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._-]+$`)

// cage is all that the unit may do and see.
func (r runner) cage(o order) ([]string, error) {
	p := locked(o)
	for _, b := range append([]bind{{path: r.program}}, o.binds...) {
		property, err := b.property()
		if err != nil {
			return nil, err
		}
		p = append(p, property)
	}
	if len(o.addresses) == 0 {
		p = append(p, "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX")
	} else {
		p = append(p, "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "IPAddressDeny=any")
	}
	for _, address := range o.addresses {
		ip, _, err := net.SplitHostPort(address)
		if err != nil || net.ParseIP(ip) == nil {
			return nil, fmt.Errorf("the database's address %q is not an IP address and a port", address)
		}
		p = append(p, "IPAddressAllow="+ip)
	}
	if o.temp != "" {
		p = append(p, "Environment=SQLITE_TMPDIR="+o.temp)
	}
	return p, nil
}

func (b bind) property() (string, error) {
	for _, path := range []string{b.path, b.inside} {
		if path != "" && (!plainPath.MatchString(path) || filepath.Clean(path) != path) {
			return "", fmt.Errorf("%q can not be given to systemd", path)
		}
	}
	name := "BindReadOnlyPaths="
	if b.write {
		name = "BindPaths="
	}
	if b.inside == "" {
		return name + b.path, nil
	}
	return name + b.path + ":" + b.inside, nil
}

// locked is the same for every unit. The child begins as root without any power
// but to become the stack's uid, which is the first thing that it does: systemd
// refuses a User= that has no entry in the machine's list of users.
func locked(o order) []string {
	return []string{
		"Description=" + o.about,
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
		"RuntimeMaxSec=" + strconv.Itoa(int(o.limit.Seconds())),
		// Who is asked to end has little left to do, and somebody waits.
		"TimeoutStopSec=2",
		"Environment=LC_ALL=C.UTF-8 GOMEMLIMIT=" + strconv.Itoa(memoryLimit*3/4),
	}
}
