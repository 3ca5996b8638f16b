// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// RecoverPlan is the name of the plan of [PlanRecovery].
const RecoverPlan = "recover"

// Legacy is what a recovery kit hands over: what it takes to reach the backups of
// a lost machine. All of it is secret.
type Legacy struct {
	Schema        int       `json:"schema"`
	Kit           string    `json:"kit"`    // SHA-256 of the sealed file, in hex
	Issued        time.Time `json:"issued"` // the kit
	Serial        int64     `json:"serial"`
	Epoch         int64     `json:"epoch"`
	Recipient     string    `json:"recipient"`     // of the pages that opened it
	Configuration string    `json:"configuration"` // rochdale.yaml, as it was then
	// Files are passwords, credentials and keys, by path on the machine.
	Files map[string][]byte `json:"files"`
	// Laid are those of them that a recovery with this kit put in place, or was about to:
	// what stood there before is somebody's own.
	Laid []string `json:"laid,omitempty"`
}

const (
	legacySchema = 1
	maxLegacy    = 4 << 20 // bytes
)

// Config reads the configuration.
func (l Legacy) Config() (appliance.Config, error) {
	return appliance.ParseConfig(strings.NewReader(l.Configuration))
}

// RecoverOptions are those of an installation, as the lost machine had them.
func RecoverOptions(c appliance.Config, o Options) Options {
	o.Stack = firstStack(c)
	o.Domain, o.Email, o.TLS, o.ACMECA, o.Reboot, o.Language = c.Stacks[o.Stack].Domain, c.Email, c.TLS.Mode, c.TLS.ACMECA, c.Updates.Reboot, c.Language
	o.ACMERoot = ""                      // it comes with the backup
	o.Stacks = append(o.Stacks, o.Stack) // so does the stack
	return o
}

func firstStack(c appliance.Config) string {
	all := sortedKeys(c.Stacks)
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// Rescue is what a recovery asks of the backups and of the daemon; cmd fills it.
type Rescue interface {
	// Find tells of the newest snapshot that can be reached.
	Find(ctx context.Context) (appliance.RescuePoint, error)
	// Fetch lays out what it has of the box itself, below the folder into.
	Fetch(ctx context.Context, p appliance.RescuePoint, into string) error
	// Adopt takes over the history that the file, the memory of the lost box, holds.
	Adopt(ctx context.Context, file string) error
	// TakeOver makes this machine the owner of the repositories, above the epoch. It
	// names those that it could not reach.
	TakeOver(ctx context.Context, epoch int64) (missed []string, err error)
	// Recover starts a stack with what the snapshot has of it.
	Recover(ctx context.Context, stack string, p appliance.RescuePoint, report func(string)) error
}

// recovery is an installation whose configuration, certificates and data come from
// the backups of a lost machine.
type recovery struct {
	*install
	legacy Legacy
	rescue Rescue
	// edgeOwner gives the account of the edge, once it is there.
	edgeOwner func() (host.Attr, error)
}

// PlanRecovery makes the plan that turns the machine of these facts into the lost
// one. It is that of an installation, with what comes from the backups put in
// before those start who need it. It changes nothing.
func PlanRecovery(o Options, f Facts, d Deps, l Legacy, rescue Rescue) (step.Plan, *Result, error) {
	r, err := newRecovery(o, f, d, l)
	if err != nil {
		return step.Plan{}, nil, err
	}
	r.rescue = rescue
	return r.plan(), r.result, nil
}

func newRecovery(o Options, f Facts, d Deps, l Legacy) (*recovery, error) {
	config, err := l.Config()
	if err != nil {
		return nil, err
	}
	r := &recovery{legacy: l, edgeOwner: func() (host.Attr, error) { return ownerOf(edgeUser) }}
	r.install = &install{Deps: d, o: o, f: f, config: config, result: &Result{}}
	r.tell()
	return r, nil
}

func (r *recovery) plan() step.Plan {
	plan := step.Plan{Name: "recover"}
	for _, s := range []func() (step.Step, bool){
		r.state, r.program, r.keys, r.unmask, r.engineConfig, r.repair, r.packages, r.engine, r.users, r.folders, r.swap, r.clock,
		r.find, r.fetch, r.box, r.configuration, r.firewall, r.late("updates", r.updates), r.units,
		r.certificates, r.history, r.owner, r.edge, r.daemon, r.stacks, r.certificate, r.end,
	} {
		if one, needed := s(); needed {
			plan.Steps = append(plan.Steps, one)
		}
	}
	return plan
}

// late is a step whose content is known when its turn comes.
func (r *recovery) late(id string, build func() (step.Step, bool)) func() (step.Step, bool) {
	return func() (step.Step, bool) {
		now, needed := build()
		return step.Step{
			ID: id, Effects: now.Effects, Estimate: now.Estimate,
			Done: func(ctx context.Context) (bool, error) { s, _ := build(); return s.Done(ctx) },
			Do:   func(ctx context.Context, report step.Report) error { s, _ := build(); return s.Do(ctx, report) },
		}, needed
	}
}

// tell fills in what a person hears at the end.
func (r *recovery) tell() {
	r.result.URL, r.result.RootURL = "https://"+r.o.Domain+"/", ""
	if r.o.TLS == "internal" {
		r.result.RootURL = "http://" + r.o.Domain + appliance.RootPath
	}
}

// kept is a file or folder of the recovery itself.
func (r *recovery) kept(elem ...string) string {
	return filepath.Join(append([]string{r.Paths.Rescue()}, elem...)...)
}

// laid is a folder of the lost machine, as it was laid out.
func (r *recovery) laid(dir string) string { return filepath.Join(r.kept("box"), dir) }

// ReadLegacy reads what an interrupted recovery kept, nil if there is none: then
// nobody has to type a page again.
func ReadLegacy(p appliance.Paths) (*Legacy, error) {
	var l Legacy
	found, err := readKept(p.RescueKit(), &l)
	if err != nil || !found {
		return nil, err
	}
	if l.Schema != legacySchema {
		return nil, fmt.Errorf("what an interrupted recovery kept has schema %d, this program knows %d", l.Schema, legacySchema)
	}
	return &l, nil
}

func readKept(path string, into any) (found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && len(data) > maxLegacy {
		err = fmt.Errorf("it has %d bytes", len(data))
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return true, nil
}

func (r *recovery) keepJSON(name string, what any) error {
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	if err := r.Files.MkdirAll(r.kept(), ours(privateDir)); err != nil {
		return err
	}
	return r.put(wanted{r.kept(name), append(data, '\n'), ours(privateFile)})
}

// ours is for files of whoever runs this.
func ours(mode fs.FileMode) host.Attr {
	return host.Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()}
}

// keys writes passwords, credentials and keys where the machine looks for them.
func (r *recovery) keys() (step.Step, bool) {
	var paths []string
	for _, path := range sortedKeys(r.legacy.Files) {
		paths = append(paths, r.real(path))
	}
	return step.Step{
		ID:      "keys",
		Effects: effect("writes", paths...),
		Do: func(context.Context, step.Report) error {
			l := r.legacy
			l.Schema = legacySchema
			kept, err := ReadLegacy(r.Paths)
			if err != nil {
				return err
			}
			if err := r.dropOther(kept, l); err != nil {
				return err
			}
			if l.Laid, err = r.toBeLaid(kept, l); err != nil {
				return err
			}
			if err := r.keepJSON(filepath.Base(r.Paths.RescueKit()), l); err != nil {
				return err
			}
			for _, path := range sortedKeys(l.Files) {
				if err := r.key(r.real(path), l.Files[path]); err != nil {
					return err
				}
			}
			return nil
		},
	}, true
}

// Wrote tells whether a file is, byte for byte, what a recovery with this kit put there:
// nobody has changed it since.
func (l Legacy) Wrote(p appliance.Paths, path string) bool {
	content := l.Files[path]
	at := filepath.Join("/", p.Root, path)
	info, err := os.Lstat(at)
	if !slices.Contains(l.Laid, path) || err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(content)) {
		return false
	}
	there, err := os.ReadFile(at)
	return err == nil && bytes.Equal(there, content)
}

// toBeLaid are the files that are not there yet, and those that an earlier run with this
// kit, or with the one that it takes the place of, has laid.
func (r *recovery) toBeLaid(kept *Legacy, l Legacy) (paths []string, err error) {
	for _, path := range sortedKeys(l.Files) {
		_, err := os.Lstat(r.real(path))
		switch {
		case errors.Is(err, fs.ErrNotExist), kept != nil && kept.Wrote(r.Paths, path):
			paths = append(paths, path)
		case err != nil:
			return nil, err
		}
	}
	return paths, nil
}

// dropOther forgets what was chosen and fetched with another kit, and what that kit put in
// place: somebody came with a better one.
func (r *recovery) dropOther(kept *Legacy, l Legacy) error {
	if kept == nil || kept.Kit == l.Kit {
		return nil
	}
	// The files first: without the kit nobody knows any more who wrote them.
	for _, path := range sortedKeys(kept.Files) {
		if content, again := l.Files[path]; again && bytes.Equal(content, kept.Files[path]) || !kept.Wrote(r.Paths, path) {
			continue
		}
		if err := r.Files.Remove(r.real(path)); err != nil {
			return err
		}
	}
	// Whole: without the kit, what is left of it would be taken for that of the new one.
	return r.Files.RemoveFolder(r.kept())
}

// real is a path of the kit on this machine.
func (r *recovery) real(path string) string { return filepath.Join("/", r.Paths.Root, path) }

// key writes one file. What somebody has in its place is never replaced; lines that
// a file of known hosts lacks are added.
func (r *recovery) key(path string, content []byte) error {
	there, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case bytes.Equal(there, content):
		return nil
	case filepath.Base(path) == "known_hosts":
		content = withLines(there, content)
	default:
		return appliance.Problem("recover.file-differs", nil, "path", path)
	}
	if err := r.Files.MkdirAll(filepath.Dir(path), ours(privateDir)); err != nil {
		return err
	}
	return r.Files.Write(path, content, ours(privateFile))
}

// withLines adds to a text the lines of another one that it lacks.
func withLines(text, more []byte) []byte {
	have := strings.Split(string(text), "\n")
	out := bytes.TrimRight(text, "\n")
	if len(out) > 0 {
		out = append(slices.Clone(out), '\n')
	}
	for line := range strings.Lines(string(more)) {
		if line = strings.TrimRight(line, "\r\n"); !slices.Contains(have, line) {
			out = append(out, line+"\n"...)
		}
	}
	return out
}
