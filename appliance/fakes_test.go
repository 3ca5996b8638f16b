// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/state"
	"rochdale/appliance/step"
	"rochdale/stacks"
)

// engineTwin behaves like the engine as its contract says, without containers.
type engineTwin struct {
	mu         sync.Mutex
	containers map[string]*twinContainer
	networks   map[string]bool
	images     map[string]bool
	seq        int
	down       bool
	log        []string
	// sick makes WaitHealthy fail for containers that it says so of.
	sick func(appliance.ContainerSpec) error
	// ready is how long a container takes to be healthy.
	ready time.Duration
	slow  string // digest of a bundle whose containers take an hour for that
	// ends is how long a container of a service takes to end, whoever waits for it.
	ends map[string]time.Duration
	// once tells how long a container takes that does one thing, and its code; nil:
	// a second, and all is well.
	once    func(appliance.ContainerSpec) (takes time.Duration, code int)
	broken  string // digest of a bundle whose images do not load
	probe   error  // what Probe gives
	prints  string // what Exec gives
	execErr error  // what a program in a container ends with
	wake    chan struct{}
}

type twinContainer struct {
	appliance.Container
	spec    appliance.ContainerSpec
	sees    map[string]fs.FileInfo // the folders that it was started with, by volume
	made    int
	crashes []time.Time
}

func newEngineTwin() *engineTwin {
	return &engineTwin{
		containers: map[string]*twinContainer{}, networks: map[string]bool{}, images: map[string]bool{},
		ready: time.Second, prints: "/first-admin/abc\n",
	}
}

var _ appliance.Engine = (*engineTwin)(nil)

func (e *engineTwin) note(format string, args ...any) {
	e.log = append(e.log, fmt.Sprintf(format, args...))
}

// lock is the beginning of every call: an engine that is down answers nothing.
func (e *engineTwin) lock(ctx context.Context) error {
	e.mu.Lock()
	if e.down {
		e.mu.Unlock()
		return appliance.Problem("engine.unreachable", nil)
	}
	if ctx.Err() != nil {
		e.mu.Unlock()
		return context.Cause(ctx)
	}
	return nil
}

func (e *engineTwin) Load(ctx context.Context, img appliance.Image) (string, error) {
	if err := e.lock(ctx); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	if e.broken != "" && img.ConfigDigest == e.broken {
		return "", appliance.Problem("engine.image", nil, "image", img.Name)
	}
	ref := "rochdale/" + img.Name
	e.images[ref] = true
	return ref, nil
}

func (e *engineTwin) EnsureNetwork(ctx context.Context, stack string) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.mu.Unlock()
	e.networks[stack] = true
	return nil
}

func (e *engineTwin) Network(ctx context.Context, stack string) (appliance.Network, error) {
	if err := e.lock(ctx); err != nil {
		return appliance.Network{}, err
	}
	defer e.mu.Unlock()
	if !e.networks[stack] {
		return appliance.Network{}, appliance.Problem("engine.not-there", nil)
	}
	return appliance.Network{Subnet: netip.MustParsePrefix("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1")}, nil
}

func (e *engineTwin) RemoveNetwork(ctx context.Context, stack string) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.mu.Unlock()
	delete(e.networks, stack)
	return nil
}

func (e *engineTwin) Start(ctx context.Context, s appliance.ContainerSpec) (appliance.Container, error) {
	if err := e.lock(ctx); err != nil {
		return appliance.Container{}, err
	}
	defer e.mu.Unlock()
	if !e.images[s.Image] || !e.networks[s.Stack] {
		return appliance.Container{}, fmt.Errorf("no image %q or no network", s.Image)
	}
	name := "rochdale-" + s.Stack + "-" + s.Service.Name + "-" + s.Suffix
	c := e.named(name)
	if c != nil && !reflect.DeepEqual(c.spec, s) {
		delete(e.containers, c.ID)
		c = nil
	}
	if c == nil {
		e.seq++
		c = &twinContainer{spec: s, made: e.seq, Container: appliance.Container{
			ID: fmt.Sprintf("id%03d", e.seq), Name: name, Stack: s.Stack, Service: s.Service.Name, Digest: s.Digest,
			Generation: s.Generation, Image: s.Image, Memory: s.Service.Memory,
		}}
		e.containers[c.ID] = c
	}
	if other := e.besides(c); other != "" { // a real one would destroy the files
		e.note("refuse %s beside %s", s.Service.Name, other)
		return appliance.Container{}, fmt.Errorf("%s and %s would be two servers on one folder", name, other)
	}
	if !c.Running() {
		e.seq++ // every start has another address
		c.State, c.Health, c.Address = "running", "starting", fmt.Sprintf("172.18.0.%d", e.seq+1)
		c.Started, c.Finished, c.ExitCode = time.Now(), time.Time{}, 0
		c.sees = map[string]fs.FileInfo{}
		for volume, dir := range s.Volumes {
			if info, err := os.Stat(dir); err == nil {
				c.sees[volume] = info
			}
		}
		e.note("start %s", s.Service.Name)
	}
	return c.Container, nil
}

// becomes makes a running container one of another release, at once: the daemon looks
// when it likes.
func (e *engineTwin) becomes(id, service, digest string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.spec.Service.Name, c.spec.Digest, c.spec.Suffix = service, digest, "oldone"
	c.Service, c.Digest, c.Name = service, digest, "rochdale-"+c.Stack+"-"+service+"-oldone"
}

// besides names a running container that serves all generations from the same folder.
func (e *engineTwin) besides(c *twinContainer) string {
	for _, x := range e.containers {
		for volume, dir := range x.spec.Volumes {
			if x.ID != c.ID && x.Running() && c.Generation == 0 && c.spec.Volumes[volume] == dir {
				return x.Name
			}
		}
	}
	return ""
}

func (e *engineTwin) named(name string) *twinContainer {
	for _, c := range e.containers {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (e *engineTwin) WaitHealthy(ctx context.Context, id string) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	c := e.containers[id]
	e.mu.Unlock()
	if c == nil {
		return appliance.Problem("engine.not-there", nil)
	}
	ready := e.ready
	if e.slow != "" && c.Digest == e.slow {
		ready = time.Hour
	}
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return appliance.Problem("engine.unhealthy", ctx.Err(), "stack", c.Stack, "service", c.Service, "reason", "no test has ended yet")
		}
		return context.Cause(ctx)
	case <-time.After(ready):
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sick != nil {
		if err := e.sick(c.spec); err != nil {
			return err
		}
	}
	if !c.Running() {
		return appliance.Problem("engine.ended", nil, "log", "last words")
	}
	c.Health = "healthy"
	return nil
}

func (e *engineTwin) WaitEnd(ctx context.Context, id string) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	c, once := e.containers[id], e.once
	e.mu.Unlock()
	if c == nil {
		return appliance.Problem("engine.not-there", nil)
	}
	takes, code := time.Second, 0
	if once != nil {
		takes, code = once(c.spec)
	}
	words := []any{"stack", c.Stack, "service", c.Service, "code", code, "memory", c.Memory >> 20, "log", "last words"}
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return context.Cause(ctx)
		}
		return appliance.Problem("engine.still-runs", nil, words...)
	case <-time.After(time.Until(c.Started.Add(takes))):
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c.end(code)
	switch code {
	case 0:
		return nil
	case 137:
		return appliance.Problem("engine.out-of-memory", nil, words...)
	}
	return appliance.Problem("engine.ended", nil, words...)
}

func (e *engineTwin) List(ctx context.Context, stack string) ([]appliance.Container, error) {
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	var found []*twinContainer
	for _, c := range e.containers {
		if stack == "" || c.Stack == stack {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b *twinContainer) int { return b.made - a.made })
	list := []appliance.Container{}
	for _, c := range found {
		one := c.Container
		for _, at := range e.crashesOf(c) {
			if time.Since(at) <= 10*time.Minute {
				one.Crashes++
			}
		}
		list = append(list, one)
	}
	return list, nil
}

func (e *engineTwin) crashesOf(c *twinContainer) (all []time.Time) {
	for _, x := range e.containers {
		if x.Stack == c.Stack && x.Service == c.Service {
			all = append(all, x.crashes...)
		}
	}
	return all
}

func (e *engineTwin) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil || !c.Running() {
		return nil
	}
	e.note("stop %s after %v", c.Service, grace)
	ends := min(e.ends[c.Service], grace)
	if ends == 0 {
		c.end(0)
		return nil
	}
	ended := make(chan struct{})
	time.AfterFunc(ends, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		c.end(0)
		close(ended)
	})
	e.mu.Unlock()
	defer e.mu.Lock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *twinContainer) end(code int) {
	c.State, c.Health, c.Address, c.Finished, c.ExitCode = "exited", "none", "", time.Now(), code
}

func (e *engineTwin) Remove(ctx context.Context, id string) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.mu.Unlock()
	if c := e.containers[id]; c != nil {
		e.note("remove %s", c.Service)
		delete(e.containers, id)
	}
	return nil
}

func (e *engineTwin) Exec(ctx context.Context, id string, argv []string) (string, error) {
	if err := e.lock(ctx); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil || !c.Running() {
		return "", appliance.Problem("engine.not-there", nil)
	}
	e.note("exec %s", strings.Join(argv, " "))
	return e.prints, e.execErr
}

func (e *engineTwin) Logs(_ context.Context, _ string, _ appliance.LogOptions, w io.Writer) error {
	_, err := io.WriteString(w, "last words\n")
	return err
}

func (e *engineTwin) Stats(context.Context, string) (int64, error) { return 42 << 20, nil }

func (e *engineTwin) Ping(ctx context.Context) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	e.mu.Unlock()
	return nil
}

func (e *engineTwin) Info(context.Context) (appliance.EngineInfo, error) {
	return appliance.EngineInfo{}, nil
}

func (e *engineTwin) Events(context.Context) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake = make(chan struct{}, 1) // of the bubble that the caller is in
	return e.wake
}

func (e *engineTwin) Prune(ctx context.Context, keep appliance.Keep) (appliance.Pruned, error) {
	if err := e.lock(ctx); err != nil {
		return appliance.Pruned{}, err
	}
	defer e.mu.Unlock()
	var done appliance.Pruned
	for id, c := range e.containers {
		if !c.Running() && !slices.Contains(keep.Containers, id) {
			delete(e.containers, id)
			done.Containers = append(done.Containers, id)
		}
	}
	for ref := range e.images {
		if !slices.Contains(keep.Images, ref) {
			delete(e.images, ref)
			done.Images = append(done.Images, ref)
		}
	}
	return done, nil
}

func (e *engineTwin) Probe(context.Context, string, appliance.Probe) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.probe
}

// crash ends all running containers of a service as if by themselves.
func (e *engineTwin) crash(service string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		if c.Service == service && c.Running() {
			c.end(1)
			c.crashes = append(c.crashes, time.Now())
		}
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// setDown makes the engine answer nothing, or answer again.
func (e *engineTwin) setDown(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

func (e *engineTwin) said() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.log)
}

// running are the running containers of a service.
func (e *engineTwin) running(service string) (all []twinContainer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		if c.Service == service && c.Running() {
			all = append(all, *c)
		}
	}
	return all
}

// edgeTwin takes documents and counts requests as it is told.
type edgeTwin struct {
	mu       sync.Mutex
	routes   appliance.Routes
	taken    int
	warmed   []string
	warm     func(context.Context) error // nil: at once
	down     bool
	inFlight func(upstream string) int
	watch    func(appliance.Routes) // sees each document
	// empty counts how often a host that had an upstream lost it.
	empty int
	certs []appliance.Certificate
	note  func(format string, args ...any)
}

var _ appliance.Edge = (*edgeTwin)(nil)

func (e *edgeTwin) Apply(_ context.Context, r appliance.Routes) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down {
		return appliance.Problem("edge.unreachable", nil)
	}
	if r.Version < e.routes.Version {
		return appliance.Problem("edge.routes-older", nil)
	}
	for name, h := range r.Hosts {
		if old := e.routes.Hosts[name]; old.Upstream != "" && h.Upstream == "" && h.RedirectTo == "" {
			e.empty++
		}
	}
	e.routes = r
	e.taken++
	if e.watch != nil {
		e.watch(r)
	}
	if e.note != nil {
		e.note("routes")
	}
	return nil
}

func (e *edgeTwin) Routes(context.Context) (appliance.Routes, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down {
		return appliance.Routes{}, appliance.Problem("edge.unreachable", nil)
	}
	r := e.routes
	r.Hosts = maps.Clone(r.Hosts)
	return r, nil
}

func (e *edgeTwin) InFlight(_ context.Context, upstream string) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inFlight == nil {
		return 0, nil
	}
	return e.inFlight(upstream), nil
}

func (e *edgeTwin) Warm(ctx context.Context, host string) error {
	e.mu.Lock()
	e.warmed = append(e.warmed, host)
	warm := e.warm
	e.mu.Unlock()
	if warm == nil {
		return nil
	}
	return warm(ctx)
}

func (e *edgeTwin) Certificates(context.Context) ([]appliance.Certificate, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down {
		return nil, appliance.Problem("edge.unreachable", nil)
	}
	return slices.Clone(e.certs), nil
}

func (e *edgeTwin) host(name string) appliance.Host {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.routes.Hosts[name]
}

func (e *edgeTwin) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// migratorTwin remembers what it was asked for, and measures what data has.
type migratorTwin struct {
	mu     sync.Mutex
	data   *dataTwin
	asked  []appliance.MigrateRequest
	err    error
	before func() // called when migrations are about to run, if set
}

func (m *migratorTwin) Up(_ context.Context, r appliance.MigrateRequest) (appliance.Migrated, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, r)
	if m.before != nil {
		m.before()
	}
	if m.err != nil {
		return appliance.Migrated{}, m.err
	}
	facts, err := m.data.measure(r.Generation, r.Facts)
	return appliance.Migrated{From: 0, To: 1, Facts: facts}, err
}

func (m *migratorTwin) Status(context.Context, appliance.MigrateRequest) (appliance.SchemaStatus, error) {
	return appliance.SchemaStatus{}, nil
}

// bundlesTwin has one bundle and others in files, and keeps the folders that the
// real one keeps.
type bundlesTwin struct {
	bundle appliance.Bundle
	files  map[string]appliance.Bundle // unpacked ones, by what a test calls them
}

func (b bundlesTwin) Unpack(_ context.Context, from appliance.Source, dir string) (appliance.Bundle, error) {
	if from.File == "" && from.Name != b.bundle.Stack.Manifest.Name {
		return appliance.Bundle{}, appliance.Problem("stack.bundle.unknown", nil)
	}
	out := b.bundle
	if other, ok := b.files[from.File]; ok {
		out = other
	}
	out.Folder = filepath.Join(dir, strings.TrimPrefix(out.Digest, "sha256:"))
	out.Dir = filepath.Join(out.Folder, "stack")
	return out, os.MkdirAll(out.Dir, 0o755)
}

func (b bundlesTwin) Open(ctx context.Context, dir, digest string) (appliance.Bundle, error) {
	if _, ok := b.files[digest]; ok {
		return b.Unpack(ctx, appliance.Source{File: digest}, dir)
	}
	out := b.bundle
	for _, other := range b.files {
		if other.Digest == digest {
			out = other
		}
	}
	out.Folder = filepath.Join(dir, strings.TrimPrefix(digest, "sha256:"))
	out.Dir = filepath.Join(out.Folder, "stack")
	if _, err := os.Stat(out.Dir); err != nil || digest != out.Digest {
		return appliance.Bundle{}, errors.Join(errors.New("not there"), err)
	}
	return out, nil
}

const digest1 = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// delivery is a stack of a web service and a shared database beside it.
func delivery() appliance.Bundle {
	return appliance.Bundle{
		Digest: digest1,
		Images: []appliance.Image{{Name: "coop"}, {Name: "cache"}},
		Stack: stacks.Stack{
			Manifest: stacks.Manifest{
				Schema: 1, Name: "delivery", Version: "1.0.0", Title: map[string]string{"en": "Delivery co-op"},
				Web: stacks.Web{Service: "coop", Port: 8080, Health: "/healthz"}, User: os.Getuid(),
				Databases:  map[string]stacks.Database{"main": {Engine: "sqlite", Volume: "data", Path: "coop.db"}},
				Migrations: stacks.Migrations{Database: "main", Dir: "migrations"},
				Facts:      map[string]stacks.Fact{"orders": {Database: "main", SQL: "select count(*) from jobs", Check: []string{"update", "drill"}}},
				FirstAdmin: []string{"/coop", "first-admin"},
				MemberLink: []string{"/coop", "reset-link"},
			},
			Services: []stacks.Service{
				{Name: "cache", Image: "cache", Shared: true, Memory: 16 << 20, StopGrace: 3 * time.Second},
				{
					Name: "coop", Image: "coop", DependsOn: []string{"cache"}, Memory: 64 << 20, StopGrace: 7 * time.Second,
					Env:    map[string]string{"COOP_BASE_URL": "${ROCHDALE_URL}", "COOP_PROXY": "${ROCHDALE_EDGE}", "COOP_NAME": "${ROCHDALE_NAME}"},
					Mounts: []stacks.Mount{{Volume: "data", Target: "/data"}},
				},
			},
		},
	}
}

const testConfig = `# our box
schema: 1
language: en
tls: {mode: internal}
stacks:
  delivery:
    domain: rides.example # the old name
    aliases: [www.rides.example]
updates: {reboot: never}
`

// bench is a box with twins for neighbours, and a real state.
type bench struct {
	t        *testing.T
	paths    appliance.Paths
	engine   *engineTwin
	edge     *edgeTwin
	migrator *migratorTwin
	store    *state.DB
	bundles  bundlesTwin
	data     *dataTwin
	space    *spaceTwin
	vault    *vaultTwin
	shelf    *shelfTwin
	kits     *kitsTwin
	disk     host.Disk // of the next daemon; nil: the real one
	d        *appliance.Daemon
	log      *logTwin
	ending   *ending
	kill     func() // tells the daemon to end
	stop     func() // and waits until it has
}

// logTwin keeps the lines of the log.
type logTwin struct {
	mu    sync.Mutex
	lines []string
}

func (l *logTwin) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	return len(line), nil
}

// mark is where the log is now.
func (l *logTwin) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// since are the lines after a mark that have some words.
func (l *logTwin) since(mark int, words string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines[mark:]), func(line string) bool { return !strings.Contains(line, words) })
}

// newBench makes a box of its own for a test, which goes beside the others.
func newBench(t *testing.T) *bench {
	t.Helper()
	t.Parallel()
	data := newDataTwin()
	b := &bench{t: t, paths: appliance.Paths{Root: t.TempDir()}, engine: newEngineTwin(), edge: &edgeTwin{}, migrator: &migratorTwin{data: data}, bundles: bundlesTwin{bundle: delivery()}, data: data, space: &spaceTwin{free: 1 << 40, memory: 1 << 40}, vault: newVaultTwin(), shelf: newShelfTwin(), kits: &kitsTwin{}, log: &logTwin{}, ending: &ending{}}
	b.edge.note = func(format string, args ...any) {
		b.engine.mu.Lock()
		defer b.engine.mu.Unlock()
		b.engine.note(format, args...)
	}
	for _, dir := range []string{b.paths.ConfigDir(), b.paths.Var()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.writeConfig(testConfig)
	b.stop = func() {}
	return b
}

func (b *bench) writeConfig(text string) {
	b.t.Helper()
	if err := os.WriteFile(b.paths.Config(), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// boot starts a daemon, as systemd would; the one before must be dead.
func (b *bench) boot() *appliance.Daemon {
	b.t.Helper()
	store, err := state.Open(context.Background(), b.paths.State())
	if err != nil {
		b.t.Fatal(err)
	}
	b.store = store
	b.d = appliance.New(appliance.Parts{
		Paths: b.paths, Store: journalTwin{DB: store, ending: b.ending}, Engine: b.engine, Edge: b.edge, Migrator: b.migrator, Bundles: b.bundles,
		Data: b.data, Space: b.space, Vault: b.vault, Shelf: b.shelf,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(b.t.Output(), b.log), nil)),
	})
	if b.disk != nil {
		b.d.WriteTo(b.disk)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- b.d.Run(ctx) }()
	b.kill = cancel
	b.stop = func() {
		cancel()
		if err := <-over; err != nil {
			b.t.Error(err)
		}
		if err := store.CloseFile(); err != nil {
			b.t.Error(err)
		}
		b.stop = func() {}
	}
	return b.d
}

func (b *bench) apply(watch func(step.Event)) (appliance.Release, error) {
	return b.d.Apply(context.Background(), appliance.ApplyRequest{Stack: "delivery"}, watch)
}

// up starts the daemon and the stack.
func (b *bench) up() *appliance.Daemon {
	b.t.Helper()
	d := b.boot()
	if _, err := b.apply(nil); err != nil {
		b.t.Fatal(err)
	}
	return d
}

func (b *bench) row() appliance.Release {
	b.t.Helper()
	r, _, err := b.store.Release(context.Background(), "delivery")
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// serving wants the stack to run once, healthy, and the edge to lead to it.
func (b *bench) serving() twinContainer {
	b.t.Helper()
	coop := b.engine.running("coop")
	if len(coop) != 1 || len(b.engine.running("cache")) != 1 {
		b.t.Fatalf("%d coop and %d cache run", len(coop), len(b.engine.running("cache")))
	}
	c := coop[0]
	if c.Health != "healthy" {
		b.t.Errorf("coop is %s", c.Health)
	}
	if got := b.edge.host("rides.example").Upstream; got != c.Address+":8080" {
		b.t.Errorf("the edge leads to %q, coop is at %s", got, c.Address)
	}
	return c
}

func (b *bench) findings() (ids []string) {
	for _, f := range b.d.Findings(context.Background()) {
		if strings.HasPrefix(f.ID, "backup.no-offsite") {
			continue // of every box in these tests but one; TestNoCopyElsewhere
		}
		ids = append(ids, string(f.Severity)+" "+f.ID)
	}
	return ids
}
