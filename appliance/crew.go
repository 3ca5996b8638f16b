// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"rochdale/stacks"
)

// crew is the containers of one release, and all it takes to make them.
type crew struct {
	release Release
	bundle  Bundle
	images  map[string]string // name in images.lock -> loaded reference
	box     stacks.Box
	paths   Paths
}

// muster gets everything ready that the containers of a release need.
func (d *Daemon) muster(ctx context.Context, r Release, b Bundle) (*crew, error) {
	c, err := d.crew(ctx, r, b)
	if err != nil {
		return nil, err
	}
	return c, d.load(ctx, c)
}

// crew makes the network and reads what the containers are told; it is enough
// to look at them.
func (d *Daemon) crew(ctx context.Context, r Release, b Bundle) (*crew, error) {
	if err := d.Engine.EnsureNetwork(ctx, r.Stack); err != nil {
		return nil, err
	}
	n, err := d.Engine.Network(ctx, r.Stack)
	if err != nil {
		return nil, err
	}
	box, err := d.box(r.Stack, b.Stack.Manifest, n)
	return &crew{release: r, bundle: b, box: box, paths: d.Paths}, err
}

// load brings the images to the engine; it is enough to start the containers.
func (d *Daemon) load(ctx context.Context, c *crew) error {
	refs := map[string]string{}
	for _, img := range c.bundle.Images {
		ref, err := d.Engine.Load(ctx, img)
		if err != nil {
			return err
		}
		refs[img.Name] = ref
	}
	c.images = refs
	return nil
}

// box is what the containers of a stack are told about this machine.
func (d *Daemon) box(stack string, m stacks.Manifest, n Network) (stacks.Box, error) {
	config, _ := d.config.get()
	entry, ok := config.Stacks[stack]
	if !ok {
		return stacks.Box{}, Problem("daemon.not-configured", nil, "stack", stack, "path", d.Paths.Config())
	}
	b := stacks.Box{
		URL: "https://" + entry.Domain, Domain: entry.Domain, Edge: n.Gateway.String(),
		Language: config.Language, Name: entry.Name,
	}
	if b.Name == "" {
		b.Name = m.Title[config.Language]
	}
	if b.Name == "" {
		b.Name = entry.Domain
	}
	return b, nil
}

// told is the box with what belongs to the release's generation.
func (c *crew) told() stacks.Box {
	box := c.box
	if _, db, ok := c.server(); ok {
		box.Database = DatabaseName(db, c.release.Generation)
	}
	return box
}

// settings is the fingerprint of what the containers are told; see [Release].
func (c *crew) settings() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", c.told()))
	return hex.EncodeToString(sum[:8])
}

// services are the containers in the order in which they start.
func (c *crew) services() []stacks.Service { return c.bundle.Stack.Services }

// service finds one by name.
func (c *crew) service(name string) (stacks.Service, bool) {
	i := slices.IndexFunc(c.services(), func(s stacks.Service) bool { return s.Name == name })
	if i < 0 {
		return stacks.Service{}, false
	}
	return c.services()[i], true
}

// spec is what the engine is told to make one container.
func (c *crew) spec(s stacks.Service, suffix string) (ContainerSpec, error) {
	ref, ok := c.images[s.Image]
	if !ok {
		return ContainerSpec{}, fmt.Errorf("service %s: the bundle has no image %q for this machine", s.Name, s.Image)
	}
	env, err := s.Environment(c.told())
	if err != nil {
		return ContainerSpec{}, err
	}
	spec := ContainerSpec{
		Stack: c.release.Stack, Service: s, User: c.bundle.Stack.Manifest.User, Digest: c.digest(s),
		Generation: c.generation(s), Image: ref, Env: env, Suffix: suffix, Volumes: map[string]string{},
	}
	for _, m := range s.Mounts {
		spec.Volumes[m.Volume] = c.volume(m.Volume)
	}
	if c.postgres() {
		file := c.paths.DatabasePassword(c.release.Stack)
		spec.Secrets = map[string]string{filepath.Base(file): file}
	}
	if web := c.bundle.Stack.Manifest.Web; web.Service == s.Name {
		spec.Probe = Probe{Port: web.Port, Path: web.Health}
	}
	return spec, nil
}

// belongs tells whether the container is one of this release's.
func (c *crew) belongs(x Container) bool {
	s, known := c.service(x.Service)
	return known && x.Stack == c.release.Stack && x.Digest == c.digest(s) && x.Generation == c.generation(s)
}

// digest is what the container of a service is known by: the bundle, or for a
// shared service what it is made from. A database server that is the same in two
// releases runs on when one follows the other.
func (c *crew) digest(s stacks.Service) string {
	if !s.Shared {
		return c.release.Digest
	}
	of, err := json.Marshal(s)
	if err != nil {
		return c.release.Digest // a service is plain data; this can not be
	}
	for _, img := range c.bundle.Images {
		if img.Name == s.Image {
			of = fmt.Appendf(of, " %s %q", img.ConfigDigest, img.DiffIDs)
		}
	}
	sum := sha256.Sum256(of)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// generation is the one that a service's container is made for; 0 for a shared
// service, which serves all of them.
func (c *crew) generation(s stacks.Service) int64 {
	if s.Shared {
		return 0
	}
	return c.release.Generation
}

// shared tells whether all generations have one volume: that of a service which
// serves all of them, or one whose files never change.
func (c *crew) shared(volume string) bool {
	return c.bundle.Stack.Manifest.Data[volume].Immutable || slices.ContainsFunc(c.services(), func(s stacks.Service) bool {
		return s.Shared && slices.ContainsFunc(s.Mounts, func(m stacks.Mount) bool { return m.Volume == volume })
	})
}

// volume is the folder of a volume for this release.
func (c *crew) volume(name string) string {
	if c.shared(name) {
		return c.paths.Shared(c.release.Stack, name)
	}
	return c.paths.Volume(c.release.Stack, c.release.Generation, name)
}

// of gives the containers of one service of this release, the newest first.
func (c *crew) of(all []Container, service string) []Container {
	var mine []Container
	for _, x := range all {
		if x.Service == service && c.belongs(x) {
			mine = append(mine, x)
		}
	}
	return mine
}

// best is the running container that should do the work: a healthy one before
// the others, and the newest of those. ok is false when none runs.
func (c *crew) best(all []Container, service string) (best Container, ok bool) {
	for _, x := range c.of(all, service) {
		if x.Running() && (!ok || x.Health == "healthy" && best.Health != "healthy") {
			best, ok = x, true
		}
	}
	return best, ok
}

// upstream is where the container answers the edge, empty if it does not.
func (c *crew) upstream(x Container) string {
	web := c.bundle.Stack.Manifest.Web
	if x.Address == "" || x.Service != web.Service {
		return ""
	}
	return net.JoinHostPort(x.Address, strconv.Itoa(web.Port))
}

// suffixOf reads a container's name backwards.
func suffixOf(x Container) string { return x.Name[strings.LastIndexByte(x.Name, '-')+1:] }

// retire stops a container within its service's grace, and removes it.
func (d *Daemon) retire(ctx context.Context, c *crew, x Container) error {
	grace := defaultGrace
	if s, ok := c.service(x.Service); ok && s.StopGrace > 0 {
		grace = s.StopGrace
	}
	if err := d.Engine.Stop(ctx, x.ID, grace); err != nil {
		return err
	}
	return d.Engine.Remove(ctx, x.ID)
}

// defaultGrace is for containers whose release is not known any more.
const defaultGrace = 10 * time.Second

// open opens the bundle of a release that was unpacked before.
func (d *Daemon) open(ctx context.Context, r Release) (Bundle, error) {
	return d.Bundles.Open(ctx, d.Paths.Bundles(r.Stack), r.Digest)
}

// openBundle opens it once: a bundle never changes, its digest is its name.
func (d *Daemon) openBundle(ctx context.Context, r Release) (Bundle, error) {
	if b, ok := d.opened.Load(r.Stack + " " + r.Digest); ok {
		return b.(Bundle), nil
	}
	b, err := d.open(ctx, r)
	if err == nil {
		d.opened.Store(r.Stack+" "+r.Digest, b)
	}
	return b, err
}
