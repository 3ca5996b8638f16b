// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"rochdale/stacks"
)

// The rooms below the root fill these interfaces; cmd joins them. Each use case
// takes the smallest one that it needs.

// Image is one container image of a bundle, for this machine's architecture.
type Image struct {
	Name           string   // in images.lock
	ConfigDigest   string   // "sha256:..."
	ManifestDigest string   // "sha256:..."
	DiffIDs        []string // of the uncompressed layers, the lowest first
	// Open gives the image as a tar archive in the format of "docker load".
	Open func() (io.ReadCloser, error)
}

// Container is one container of ours, as the engine sees it now.
type Container struct {
	ID         string
	Name       string
	Stack      string
	Service    string
	Digest     string // of the bundle that it belongs to
	Generation int64  // of the data that it runs on
	Image      string // reference that it was made from
	State      string // created, running, paused, restarting, removing, exited, dead
	Health     string // starting, healthy, unhealthy, none
	Address    string // IP address in the stack's network; empty unless it runs
	Started    time.Time
	Finished   time.Time // when it last ended; zero while it runs
	Memory     int64     // its limit in bytes
	ExitCode   int
	OOMKilled  bool
	// Crashes counts how often a container of this service ended within the
	// last ten minutes without having been asked to.
	Crashes int
}

// Running tells whether its first process is there and not frozen.
func (c Container) Running() bool { return c.State == "running" }

// ContainerSpec is everything that makes one container.
type ContainerSpec struct {
	Stack      string
	Service    stacks.Service
	User       int // uid and gid
	Digest     string
	Generation int64
	Image      string            // what Load returned
	Volumes    map[string]string // volume -> host folder
	Env        map[string]string // the box's settings; they win over the service's own
	Secrets    map[string]string // name -> host file, read as /run/secrets/NAME
	// Probe is where the service answers 200 over HTTP when it is ready; the
	// zero value if it does not speak HTTP.
	Probe Probe
	// Once is a container that does one thing and ends: its health is not tested,
	// also not by the image's own test, and nobody finds it by its service's name.
	Once bool
	// Suffix makes the name: rochdale-STACK-SERVICE-SUFFIX. [NewSuffix] makes
	// one; a step that is run again gives the same.
	Suffix string
}

// Probe is a port and a path in a container, and what must come back.
type Probe struct {
	Port   int
	Path   string
	Status int // 0: 200
	// Contains is a text that must be in the first MiB of the answer; "" for any.
	Contains string
}

// NewSuffix gives six random characters for the name of a container.
func NewSuffix() string { return strings.ToLower(rand.Text()[:6]) }

// Network is where a stack's containers are.
type Network struct {
	Subnet netip.Prefix
	// Gateway is this machine in it: where the edge's connections come from.
	Gateway netip.Addr
}

// Loader brings images to the engine.
type Loader interface {
	// Load loads the image unless it is there, and gives the reference to start
	// it by: its digest in the engine, which is one of the two in img. The
	// layers are compared with img.DiffIDs in either case.
	Load(ctx context.Context, img Image) (ref string, err error)
}

// Containers starts, lists and ends containers.
type Containers interface {
	// EnsureNetwork makes the stack's own network.
	EnsureNetwork(ctx context.Context, stack string) error
	// Network tells where the stack's network is.
	Network(ctx context.Context, stack string) (Network, error)
	// RemoveNetwork removes it; one that is not there is no error.
	RemoveNetwork(ctx context.Context, stack string) error
	// Start makes the container unless one of this name is there, and starts it
	// unless it runs.
	Start(ctx context.Context, spec ContainerSpec) (Container, error)
	// WaitHealthy waits until the container has passed its own health test and
	// answers its probe. Its error says how the container ended and carries its
	// last log lines.
	WaitHealthy(ctx context.Context, id string) error
	// WaitEnd waits until the container has ended; only code 0 is no error. Its
	// error says how the container ended ("engine.ended", "engine.out-of-memory"),
	// or that it goes on when the time of ctx is up ("engine.still-runs"), and
	// carries its last log lines. The container is left as it is.
	WaitEnd(ctx context.Context, id string) error
	// List gives the containers of one stack, or of all with stack "", newest first.
	List(ctx context.Context, stack string) ([]Container, error)
	// Stop asks the container to end and kills it after grace. A container that
	// has ended or is gone is no error.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove removes the container, running or not; one that is gone is no error.
	Remove(ctx context.Context, id string) error
}

// LogOptions chooses the lines of a log.
type LogOptions struct {
	Follow     bool
	Tail       int       // the last lines only; 0: all
	Since      time.Time // zero: from the beginning
	Timestamps bool      // each line begins with its time (RFC 3339, UTC)
}

// Inside looks into a running container.
type Inside interface {
	// Exec runs a program in the container, as the container's user. It gives
	// at most 64 KiB of what the program printed, and an error when it ended
	// with another code than 0.
	Exec(ctx context.Context, id string, argv []string) (stdout string, err error)
	// Logs copies what the container printed.
	Logs(ctx context.Context, id string, o LogOptions, w io.Writer) error
	// Stats gives the memory that the container holds, in bytes, without what
	// the kernel can take back at once.
	Stats(ctx context.Context, id string) (memory int64, err error)
}

// EngineInfo is what the engine says of itself.
type EngineInfo struct {
	Version       string
	API           string
	StorageDriver string
	CgroupVersion string // "1" or "2"
	LiveRestore   bool
	MemoryLimit   bool // false: this kernel does not limit containers
	CPUs          int
}

// EngineWatch tells how the engine is.
type EngineWatch interface {
	Ping(ctx context.Context) error
	Info(ctx context.Context) (EngineInfo, error)
	// Events wakes its reader when something may have changed; what is true is
	// in List. It reconnects by itself and ends with ctx.
	Events(ctx context.Context) <-chan struct{}
}

// Keep is what a clean-up must leave.
type Keep struct {
	Containers []string // ids; running ones stay in any case
	Images     []string // references that Load returned
}

// Pruned is what a clean-up removed.
type Pruned struct {
	Containers []string
	Images     []string
}

// Pruner removes what nothing needs any more, of ours only.
type Pruner interface {
	Prune(ctx context.Context, keep Keep) (Pruned, error)
}

// Prober asks a service over HTTP, once, whether it is ready.
type Prober interface {
	Probe(ctx context.Context, address string, p Probe) error
}

// Engine runs containers.
type Engine interface {
	Loader
	Containers
	Inside
	EngineWatch
	Pruner
	Prober
}

// MigrateRequest names a database and the migrations that it should have.
type MigrateRequest struct {
	Stack    string
	User     int // uid and gid that the migrations run with
	Database stacks.Database
	// Generation of the stack's data; a database in a server is named after it
	// and made when it is not there.
	Generation int64
	// Migrations is the folder of goose migrations on this machine; "" when the
	// database is only to be there.
	Migrations string
	// VolumeDir is the host folder of Database.Volume, for sqlite.
	VolumeDir string
	// Address ("address:port") and PasswordFile are for postgres.
	Address      string
	PasswordFile string
	// Facts are those of this database to measure when it has its migrations.
	Facts map[string]stacks.Fact
}

// Migration is one migration that was applied.
type Migration struct {
	Version  int64         `json:"version"`
	File     string        `json:"file"`
	Duration time.Duration `json:"duration"`
}

// Migrated is what a run changed.
type Migrated struct {
	From    int64       `json:"from"` // version of the database before
	To      int64       `json:"to"`   // and after
	Applied []Migration `json:"applied"`
	// Facts were measured after, by name: all that were asked for.
	Facts map[string]int64 `json:"facts,omitempty"`
}

// SchemaStatus is where a database stands.
type SchemaStatus struct {
	Current int64    `json:"current"` // version of the database; 0: nothing applied
	Newest  int64    `json:"newest"`  // version of the newest migration
	Pending []string `json:"pending"` // files that were not applied yet
}

// Migrator brings a stack's database to its release's schema.
type Migrator interface {
	// Up applies what is missing, and then measures facts. Its error names the
	// migration that failed, what was applied before it and what was not; or the
	// fact that can not be measured although all was applied.
	Up(ctx context.Context, r MigrateRequest) (Migrated, error)
	// Status changes nothing; a database that does not exist is at version 0.
	Status(ctx context.Context, r MigrateRequest) (SchemaStatus, error)
}

// Source is where a bundle comes from.
type Source struct {
	// Name is a stack whose bundle this binary carries.
	Name string `json:"name,omitempty"`
	// File is a bundle on this machine; it wins over Name.
	File string `json:"file,omitempty"`
}

// Bundle is a verified bundle in a folder of this machine.
type Bundle struct {
	Digest string // "sha256:..."
	Stack  stacks.Stack
	Images []Image
	// Dir holds its files as they were built: stack.yaml, migrations, ...
	Dir string
	// Folder is all of the unpacked bundle, images too; it is named after the digest.
	Folder string
}

// Bundles brings bundles onto the disk and opens them.
type Bundles interface {
	// Unpack verifies the bundle and writes it durably below dir, in a folder
	// named after its digest. One that is there whole is opened only.
	Unpack(ctx context.Context, from Source, dir string) (Bundle, error)
	// Open opens a bundle that was unpacked below dir.
	Open(ctx context.Context, dir, digest string) (Bundle, error)
}

// Edge is the process that answers the world.
type Edge interface {
	// Apply gives it the document; it is durable there when Apply returns nil.
	Apply(ctx context.Context, r Routes) error
	// Routes gives the document that it serves.
	Routes(ctx context.Context) (Routes, error)
	// InFlight is how many requests are at "address:port" now.
	InFlight(ctx context.Context, upstream string) (int, error)
	// Warm gets the certificate of a host that the document names.
	Warm(ctx context.Context, host string) error
	Certificates(ctx context.Context) ([]Certificate, error)
}

// Check looks for one kind of trouble; room doctor has them.
type Check interface {
	Findings(ctx context.Context) []Finding
}

// Meter tells how much memory units of the machine hold, in bytes by unit.
type Meter interface {
	Memory(ctx context.Context) (map[string]int64, error)
}

// Space tells how much room there is on the machine, in bytes.
type Space interface {
	// Free is what anybody may still write on the file system of the folder, or of
	// the nearest folder above it that is there. What is kept back for root is not in it.
	Free(path string) (int64, error)
	// SameDisk tells whether two folders, or the nearest ones above them that are
	// there, are on the same file system.
	SameDisk(a, b string) (bool, error)
	// Memory is what programs can still have without swapping.
	Memory() (int64, error)
}

// Parts are what cmd joins to a [Daemon].
type Parts struct {
	Paths    Paths
	Store    Store
	Engine   Engine
	Edge     Edge
	Migrator Migrator
	Bundles  Bundles
	Data     Data
	Space    Space
	Vault    Vault
	Shelf    Shelf // nil: nothing is kept beside repositories
	Kits     Kits  // nil: there is no recovery kit
	Checks   []Check
	Meter    Meter
	Log      *slog.Logger
}

// IsProblem tells whether err is or wraps an [*Error] with this id.
func IsProblem(err error, id string) bool {
	var e *Error
	return errors.As(err, &e) && e.ID == id
}
