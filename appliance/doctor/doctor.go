// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"rochdale/appliance"
)

// Doctor looks at one machine. A nil part is not looked at.
type Doctor struct {
	Paths        appliance.Paths
	Machine      Machine
	Units        Units
	Firewall     Firewall
	OwnRules     OwnRules
	Logins       Logins
	Engine       Engine
	Certificates Certificates
	Network      Network
	Reconciled   Reconciled
	OwnUpdates   OwnUpdates
	// Watched are the units that have to be active.
	Watched []string
}

var _ appliance.Check = Doctor{}

// Machine reads figures of the machine.
type Machine interface {
	// Disk gives the space of the file system that holds path, and an id that
	// is the same for two paths on one file system.
	Disk(path string) (Disk, error)
	// Memory is read from /proc/meminfo.
	Memory() (Memory, error)
	// ClockSynced tells whether the kernel's clock is kept by a time server;
	// known is false where that can not be told, in a container say.
	ClockSynced() (synced, known bool, err error)
	// Kernel is the release that runs, "6.1.0-18-amd64" say.
	Kernel() (string, error)
	// Uptime is how long the machine has run.
	Uptime() (time.Duration, error)
}

// Units tells about systemd units; host.Systemd does.
type Units interface {
	Show(ctx context.Context, unit string, properties ...string) (map[string]string, error)
}

// Engine tells about the container engine.
type Engine interface {
	Info(ctx context.Context) (appliance.EngineInfo, error)
}

// Certificates tells which certificates the edge has.
type Certificates interface {
	Certificates(ctx context.Context) ([]appliance.Certificate, error)
}

// Network looks names up and knocks at ports.
type Network interface {
	// Lookup gives the addresses of a name; none, without an error, when the
	// name does not exist.
	Lookup(ctx context.Context, name string) ([]string, error)
	// Own gives the addresses of this machine.
	Own() ([]string, error)
	// Answers tells whether somebody accepts TCP connections at the address.
	Answers(ctx context.Context, address string) bool
}

// Reconciled tells when the daemon last made sure that the stacks run; ok is
// false when it never has.
type Reconciled interface {
	LastReconcile(ctx context.Context) (at time.Time, ok bool, err error)
}

// at is a path of the machine that is not ours.
func (d Doctor) at(elem ...string) string {
	return filepath.Join(append([]string{"/", d.Paths.Root}, elem...)...)
}

// checkBound is how long one check may take: a small computer that is busy asks
// systemd for over ten seconds.
const checkBound = 25 * time.Second

// check looks at one thing. Its error means that it could not look, which is a
// finding too.
type check struct {
	name string
	look func(ctx context.Context, d Doctor) ([]appliance.Finding, error)
}

// checks are all that the doctor looks at, in the order in which a person reads.
func checks() []check {
	return []check{
		{"config", configuration},
		{"disk", disks},
		{"boot-check", bootCheck},
		{"memory", memory},
		{"clock", clock},
		{"units", units},
		{"engine", engine},
		{"ports", ports},
		{"firewall", firewall},
		{"firewall-rules", ownRules},
		{"certificates", certificates},
		{"dns", names},
		{"reconcile", reconciled},
		{"updates", updates},
		{"reboot", reboot},
		{"own", own},
		{"backup", backup},
	}
}

// Findings runs every check, side by side, and gives what they found: failures
// first, then warnings, then notices. It never fails; a check that could not
// look says so in a finding.
func (d Doctor) Findings(ctx context.Context) []appliance.Finding {
	all := checks()
	found := make([][]appliance.Finding, len(all))
	var wait sync.WaitGroup
	for i, c := range all {
		wait.Go(func() { found[i] = c.run(ctx, d) })
	}
	wait.Wait()
	list := slices.Concat(found...)
	if d.recovering() {
		list = slices.DeleteFunc(list, func(f appliance.Finding) bool { return slices.Contains(notYet(), f.ID) })
		list = append(list, failure(appliance.Recovering))
	}
	slices.SortStableFunc(list, Compare)
	return list
}

func (d Doctor) recovering() bool {
	_, err := os.Lstat(d.Paths.RescueKit())
	return err == nil
}

// notYet are findings that a recovery mends when it goes on. The advice to install would
// leave a platform without its data.
func notYet() []string {
	return []string{
		"backup.no-offsite", "config.missing", "doctor.config-missing", "doctor.no-swap", "doctor.unit-missing", "doctor.unit-inactive",
		"doctor.engine-no-live-restore", "doctor.engine-silent", "doctor.firewall-open", "doctor.port-silent",
	}
}

func (c check) run(ctx context.Context, d Doctor) []appliance.Finding {
	ctx, cancel := context.WithTimeout(ctx, checkBound)
	defer cancel()
	found, err := c.look(ctx, d)
	if err != nil {
		found = append(found, warning("doctor.check-failed", "check", c.name, "detail", cause(err)))
	}
	return found
}

// Compare orders findings by severity, the gravest first.
func Compare(a, b appliance.Finding) int { return rank(a.Severity) - rank(b.Severity) }

// cause is an error as a person may read it inside a sentence: without ids of
// ours, and its first line alone.
func cause(err error) string {
	var known *appliance.Error
	if errors.As(err, &known) && known.Err != nil {
		err = known.Err
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func rank(s appliance.Severity) int {
	return slices.Index([]appliance.Severity{appliance.Failure, appliance.Warning, appliance.Notice}, s)
}

// Worst is the gravest severity among the findings; ok is false for none.
func Worst(findings []appliance.Finding) (worst appliance.Severity, ok bool) {
	for _, f := range findings {
		if !ok || rank(f.Severity) < rank(worst) {
			worst, ok = f.Severity, true
		}
	}
	return worst, ok
}

func found(s appliance.Severity, id string, pairs ...any) appliance.Finding {
	return appliance.Finding{Message: appliance.Message{ID: id, Args: appliance.Args(pairs...)}, Severity: s}
}

func failure(id string, pairs ...any) appliance.Finding {
	return found(appliance.Failure, id, pairs...)
}

func warning(id string, pairs ...any) appliance.Finding {
	return found(appliance.Warning, id, pairs...)
}

func notice(id string, pairs ...any) appliance.Finding {
	return found(appliance.Notice, id, pairs...)
}

func only(f ...appliance.Finding) ([]appliance.Finding, error) { return f, nil }
