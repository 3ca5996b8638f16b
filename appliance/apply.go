// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// ApplyRequest asks for a stack to run.
type ApplyRequest struct {
	Stack string `json:"stack"`
	// Digest is that of a bundle which lies unpacked among those of the stack;
	// empty: the one in this binary.
	Digest string `json:"digest,omitempty"`
}

// Apply makes the stack run and answer under its domain, and gives what runs
// then. A stack that has run before keeps its release and its data, whatever
// bundle the request names: another release is an update, not a start.
func (d *Daemon) Apply(ctx context.Context, r ApplyRequest, watch func(step.Event)) (Release, error) {
	if err := d.configured(r.Stack); err != nil {
		return Release{}, err
	}
	if err := d.perform(ctx, r.Stack, func() operation { return d.startOperation(r) }, watch); err != nil {
		return Release{}, err
	}
	row, _, err := d.Store.Release(ctx, r.Stack)
	return row, err
}

// configured wants the stack to be in the configuration.
func (d *Daemon) configured(stack string) error {
	config, ok := d.config.get()
	if _, known := config.Stacks[stack]; known {
		return nil
	}
	if f := d.config.finding(); !ok && f != nil {
		return &Error{Message: f.Message, Code: ExitCheckFailed}
	}
	return Problem("daemon.not-configured", nil, "stack", stack, "path", d.Paths.Config()).WithCode(ExitUsage)
}

// start is the work of one stack-start. Every step finds what the ones before
// it made on the machine, so that it can be the first one after a crash.
type start struct {
	*Daemon
	request ApplyRequest
	c       *crew
}

func (d *Daemon) startOperation(r ApplyRequest) operation {
	s := &start{Daemon: d, request: r}
	return operation{request: r, after: s.ended, plan: step.Plan{Name: "stack-start", Key: r.Stack, Steps: []step.Step{
		{ID: "unpack", Do: s.unpack, Effects: writes(d.Paths.Bundles(r.Stack)), Estimate: 2 * time.Second},
		{ID: "network", Do: s.network},
		{ID: "images", Do: s.images, Estimate: 2 * time.Second},
		{ID: "data", Do: s.data, Effects: writes(filepath.Join(d.Paths.Stack(r.Stack), "data"))},
		{ID: "database", Do: s.databases},
		{ID: "migrate", Do: s.migrate, Estimate: time.Second},
		{ID: "start", Do: s.start, Estimate: 3 * time.Second},
		{ID: "commit", Do: s.commit},
		{ID: "route", Do: s.route},
		{ID: "certificate", Do: s.certificate, Estimate: 10 * time.Second},
	}}}
}

func writes(path string) []step.Effect { return []step.Effect{{Kind: "writes", What: path}} }

// unpack opens the bundle of the row, or brings the asked-for one.
func (s *start) unpack(ctx context.Context, _ step.Report) error {
	row, ok, err := s.Store.Release(ctx, s.request.Stack)
	if err != nil {
		return err
	}
	b, err := s.bundle(ctx, row, ok)
	if err != nil {
		return err
	}
	if name := b.Stack.Manifest.Name; name != s.request.Stack {
		return Problem("daemon.other-stack", nil, "stack", s.request.Stack, "found", name).WithCode(ExitUsage)
	}
	if !ok {
		row = Release{Stack: s.request.Stack, Digest: b.Digest, Version: b.Stack.Manifest.Version}
	}
	s.c = &crew{release: row, bundle: b, paths: s.Paths}
	return nil
}

func (s *start) bundle(ctx context.Context, row Release, ran bool) (Bundle, error) {
	if ran {
		b, err := s.open(ctx, row)
		if err == nil {
			return b, nil
		}
		s.Log.Warn("the bundle of the release is not whole and is unpacked again", "stack", row.Stack, "digest", row.Digest, "error", err)
	}
	dir := s.Paths.Bundles(s.request.Stack)
	if err := s.files.MkdirAll(dir, rootOnly()); err != nil {
		return Bundle{}, err
	}
	b, err := s.askedFor(ctx, dir)
	if err == nil && ran && b.Digest != row.Digest {
		return b, Problem("daemon.bundle-lost", nil, "stack", row.Stack, "version", row.Version, "digest", row.Digest)
	}
	return b, err
}

// askedFor is the bundle that a stack is to begin with.
func (s *start) askedFor(ctx context.Context, dir string) (Bundle, error) {
	if s.request.Digest != "" {
		return s.Bundles.Open(ctx, dir, s.request.Digest)
	}
	return s.Bundles.Unpack(ctx, Source{Name: s.request.Stack}, dir)
}

// rootOnly folders can be passed through, because some below belong to others.
func rootOnly() host.Attr { return host.Attr{Mode: 0o711, UID: os.Geteuid(), GID: os.Getegid()} }

func (s *start) network(ctx context.Context, _ step.Report) error {
	c, err := s.crew(ctx, s.c.release, s.c.bundle)
	if err == nil {
		s.c = c
	}
	return err
}

func (s *start) images(ctx context.Context, _ step.Report) error { return s.load(ctx, s.c) }

// data chooses the release's generation and makes its folders.
func (s *start) data(ctx context.Context, _ step.Report) error {
	r := &s.c.release
	dir := filepath.Join(s.Paths.Stack(r.Stack), "data")
	if r.Generation == 0 {
		newest, err := newestGeneration(dir)
		if err != nil {
			return err
		}
		// A folder that this very start began is reserved already, and not "there".
		if r.Generation, err = s.Store.ReserveGeneration(ctx, r.Stack, r.Digest, newest); err != nil {
			return err
		}
	}
	if err := s.furnish(s.c); err != nil {
		return err
	}
	return s.password(s.c)
}

// newestGeneration is the highest number of a folder in dir, 0 without one.
// State gives numbers; this is for a state that was lost while the data was not.
func newestGeneration(dir string) (newest int64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for generations: %w", err)
	}
	for _, e := range entries {
		if n, err := strconv.ParseInt(e.Name(), 10, 64); err == nil {
			newest = max(newest, n)
		}
	}
	return newest, nil
}

// databases starts the services that others keep their rows in, so that they
// can be migrated before anything else runs. What is parked of them is not the newest
// any more from here on, whatever becomes of the start.
func (s *start) databases(ctx context.Context, _ step.Report) error {
	if err := s.ensure(ctx, s.c, isShared); err != nil {
		return err
	}
	return s.unpark(s.c.release.Stack)
}

func (s *start) migrate(ctx context.Context, report step.Report) error {
	m, ok, err := s.migration(ctx, s.c)
	if err != nil {
		return err
	}
	if ok {
		done, err := s.Migrator.Up(ctx, m)
		if err != nil {
			return err
		}
		report(fmt.Sprintf("schema %d -> %d", done.From, done.To))
	}
	if !s.c.release.Committed.IsZero() {
		return nil // this release has migrated this generation: its row says so
	}
	return s.command(ctx, s.c, s.c.commandSuffix(), report)
}

func (s *start) start(ctx context.Context, _ step.Report) error {
	return s.ensure(ctx, s.c, everything)
}

// commit is the moment from which the stack runs, whatever happens next.
func (s *start) commit(ctx context.Context, _ step.Report) error {
	r := s.c.release
	if r.Committed.IsZero() {
		r.Committed = time.Now().UTC()
		r.Settings = s.c.settings()
	}
	if r.Stopped { // everything was started anew
		r.Stopped, r.Settings = false, s.c.settings()
	}
	s.c.release = r
	return s.Store.Commit(ctx, r)
}

func (s *start) route(ctx context.Context, _ step.Report) error {
	all, err := s.Engine.List(ctx, s.request.Stack)
	if err != nil {
		return err
	}
	web, ok := s.c.best(all, s.c.bundle.Stack.Manifest.Web.Service)
	if !ok {
		return Problem("daemon.web-gone", nil, "stack", s.request.Stack)
	}
	s.views.point(s.request.Stack, s.c.upstream(web))
	return s.mustRoute(ctx)
}

// certificate asks for it now rather than at the first visit. It is no reason
// to fail: the name may not point here yet. A finding says so then.
func (s *start) certificate(ctx context.Context, report step.Report) error {
	return s.warm(ctx, s.request.Stack, report)
}

// warmLimit is how long an operation waits for all certificates together.
const warmLimit = time.Minute

// warm waits a while for the certificates of a stack. Nobody heals the stack
// meanwhile, and so what takes longer is left to the edge, which goes on by
// itself.
func (d *Daemon) warm(ctx context.Context, stack string, report step.Report) error {
	config, _ := d.config.get()
	bounded, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	for _, h := range config.Stacks[stack].Hosts() {
		err := d.Edge.Warm(bounded, h)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			report(fmt.Sprintf("%s: %v", h, err))
		}
		if bounded.Err() != nil {
			break
		}
	}
	return nil
}

// ended removes what a failed first start left running: no row names it.
func (s *start) ended(ctx context.Context, failed error) error {
	_, committed, err := s.Store.Release(ctx, s.request.Stack)
	if failed == nil || committed || err != nil {
		return err
	}
	all, err := s.Engine.List(ctx, s.request.Stack)
	if err != nil {
		return nil //nolint:nilerr // reconciling removes them when the engine is back
	}
	for _, x := range all {
		err = errors.Join(err, s.retire(ctx, &crew{}, x))
	}
	return err
}
