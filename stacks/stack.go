// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import "time"

// Stack is one validated release of a stack: what stack.yaml and compose.yaml
// say, with every default filled in.
type Stack struct {
	Manifest Manifest
	// Services are the containers in the order in which they start.
	Services []Service
	// Settings are what a co-op can decide, in the order of their file.
	Settings []Setting
}

// Manifest is stack.yaml.
type Manifest struct {
	Schema  int
	Name    string
	Version string
	Title   map[string]string // by language: en, es, fr
	Web     Web
	// Probes are what a release must answer before it may replace the one before.
	Probes    []ReleaseProbe
	User      int // uid (and gid) of its containers and of its data
	Databases map[string]Database
	// Migrations of the named database; Dir is inside the bundle.
	Migrations Migrations
	Data       map[string]Volume // extra words about volumes
	Facts      map[string]Fact
	Settings   string // file in the bundle; "" when there is none
	// FirstAdmin is the command that, run inside the web container, prints the
	// path of a one-time link that makes the first admin, or nothing when there
	// is an admin already. May be empty.
	FirstAdmin []string
	// MemberLink is the command that, with a member's e-mail address as one more
	// argument, prints the path of a one-time link with which the member gets in
	// again. May be empty.
	MemberLink []string
	Needs      Needs
	Upgrade    Upgrade
}

// Web is the service that answers the edge.
type Web struct {
	Service string
	Port    int
	Health  string // path that answers 200 when the service is ready
}

// ReleaseProbe is one GET request to the web service of a release that has just
// started on its data, and what must come back. Redirections are not followed.
type ReleaseProbe struct {
	Path   string
	Status int // 200 unless the manifest says another one
	// Contains is a text that the answer must have in it; "" for any.
	Contains string
}

// Database is where a stack keeps rows.
type Database struct {
	Engine  string // "sqlite" or "postgres"
	Volume  string // sqlite: the volume that holds the file
	Path    string // sqlite: the file inside the volume
	Service string // postgres: the service that runs it
	// Name is the role in the server, for postgres. The database of a generation
	// is named after it; containers are told its name as ROCHDALE_DATABASE.
	Name string
}

// Migrations bring a database to the release's schema.
type Migrations struct {
	Database string
	Dir      string // goose migrations, or
	// Command is a program of the release's own, run to its end in a container
	// like that of Service before any service starts: code 0 means done. It stands
	// in place of the service's command; an entrypoint stays. It must be able to be
	// run again, also after it was ended in the middle.
	Command []string
	// Service is one that uses the database. It is always there with a command:
	// the only one that does, or the one that the manifest names.
	Service string
}

// Volume is data that a stack keeps.
type Volume struct {
	// Immutable files are content-addressed: shared between generations, never
	// copied, and never changed by anybody.
	Immutable bool
}

// Fact is a number measured in a snapshot and compared after.
type Fact struct {
	Database string
	SQL      string
	Must     *int64   // the only right answer, if there is one
	Check    []string // "update", "drill"
}

// Needs is what a machine must have for the stack.
type Needs struct {
	Memory int64 // bytes
	Disk   int64 // bytes
}

// Upgrade says which releases may be updated to this one.
type Upgrade struct {
	From  string
	Steps []string
}

// Service is one container of a stack. A database server that runs is known by the
// JSON form of its service, so that an update of Rochdale must not change it for
// services that do not use what is new: later fields are left out when empty.
type Service struct {
	Name       string
	Image      string   // name in images.lock
	Entrypoint []string // empty: the image's
	Command    []string // empty: the image's
	// Env is as compose.yaml has it: variables of the box are still in it.
	// [Service.Environment] fills them in.
	Env       map[string]string
	Mounts    []Mount
	Tmpfs     []Tmpfs
	Memory    int64   // bytes; never 0 after validation
	CPUs      float64 // never 0 after validation
	PIDs      int64   // never 0 after validation
	Health    *Health
	DependsOn []string
	StopGrace time.Duration
	// StopSignal asks the program to end, such as SIGINT; "" for the image's own, or
	// SIGTERM when that has none.
	StopSignal string `json:",omitempty"`
	// Shared services (a database) survive a swap and an update of the others.
	Shared bool
}

// Mount is a volume of the stack inside a container.
type Mount struct {
	Volume   string
	Target   string
	ReadOnly bool
}

// Tmpfs is memory that a container may write to.
type Tmpfs struct {
	Target string
	Size   int64 // bytes
}

// Health is how a container tells that it is ready. A service without it is
// asked over HTTP when it is the web service, and else is ready when it runs.
type Health struct {
	Test        []string // the program and its arguments
	Interval    time.Duration
	Timeout     time.Duration
	StartPeriod time.Duration
	Retries     int
}
