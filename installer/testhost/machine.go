// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// Host is a test machine of any kind: what a walk needs, whether nspawn or QEMU runs it.
type Host interface {
	// Exec runs a program as root in the machine. A non-zero exit code is in the result, not an error.
	Exec(ctx context.Context, c Command) (Result, error)
	// Output is Exec with the standard output alone; a non-zero exit code is an error.
	Output(ctx context.Context, args ...string) (string, error)
	// Start starts a program and does not wait for its end.
	Start(ctx context.Context, c Command) (*Process, error)
	// CopyIn copies a file of the build machine into the machine, atomically, making folders as needed.
	CopyIn(ctx context.Context, src, dst string, mode os.FileMode) error
	WriteFile(ctx context.Context, path string, data []byte, mode os.FileMode) error
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// AddHost makes a name resolve to an address in the machine.
	AddHost(ctx context.Context, name, ip string) error
	// Address is the machine's own on the bridge, where all its ports can be reached from the build machine.
	Address() netip.Addr
	// Wait returns when the machine's systemd is done with starting, with the names of units that failed.
	Wait(ctx context.Context) (failed []string, err error)
	// Reboot asks systemd in the machine for a reboot and waits until it is up again.
	Reboot(ctx context.Context) error
	PowerOff(ctx context.Context) error
	PowerOn(ctx context.Context) error
	Running() bool
	// Console returns the end of what the machine wrote on its console, over all boots.
	Console() string
	// PullPlug ends the machine at once, as a power cut does. PowerOn boots what is left.
	PullPlug() error
	// Close ends the machine and removes everything of it.
	Close() error
}

var _ Host = (*Machine)(nil)

// Options say what machine to boot. The zero value is a bare Debian 12.
type Options struct {
	Name     string     // the machine's host name; "box" if empty
	Suite    string     // "bookworm" (if empty) or "trixie"
	From     string     // a root made by Save, instead of a bare one of Suite
	IP       netip.Addr // on the bridge; the next free one if not set
	Memory   int64      // bytes; 0: no limit. The limit holds for the whole machine, and /proc/meminfo shows it
	Resolver netip.Addr // the machine's DNS resolver; the build machine's if not set
	AptCache string     // "http://HOST:PORT" of a caching proxy such as AptCache.URL; empty: straight to the mirrors
	Files    []File     // written before the first boot
	Off      bool       // make the machine but do not boot it
}

// File is a file to be in a machine before it boots.
type File struct {
	Path string
	Data []byte
	Mode os.FileMode
}

// Machine is a Debian under systemd-nspawn. Its methods may be called from several goroutines.
type Machine struct {
	Name string     // the host name
	IP   netip.Addr // on the bridge
	// Dir is the machine's root folder on the build machine. Read it freely; write to it only while the machine is off.
	Dir string

	lease  lease
	memory int64

	mu      sync.Mutex
	sup     *supervisor // nil while off
	closed  bool
	changed chan struct{} // closed and replaced at every change
}

// Address is IP, for those who have a Host.
func (m *Machine) Address() netip.Addr { return m.IP }

// Boot makes a machine as a copy of a bare or a saved root, boots it and waits until systemd is up. The caller must Close it.
// Units that failed are an error for a bare root, since a bare Debian has none.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	m, err := create(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("make machine %s: %w", o.Name, err)
	}
	if o.Off {
		return m, nil
	}
	if err := m.PowerOn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("boot machine %s: %w\n%s", o.Name, err, tail(m.Console(), 2000)), m.Close())
	}
	return m, nil
}

// hostName is what may stand in /etc/hostname; the name also becomes part of a path.
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (o *Options) defaults() error {
	if o.Name == "" {
		o.Name = "box"
	}
	if o.Suite == "" {
		o.Suite = "bookworm"
	}
	if !hostName.MatchString(o.Name) {
		return fmt.Errorf("%q is not a host name: lower case letters, digits and hyphens", o.Name)
	}
	return nil
}

// create takes an address and copies the root; on an error nothing is left.
func create(ctx context.Context, o *Options) (*Machine, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	source := o.From
	if source == "" {
		base, err := Base(ctx, o.Suite)
		if err != nil {
			return nil, err
		}
		source = base
	}
	l, err := takeLease(ctx, o.IP, func(l *lease) { l.Dir = filepath.Join(machinesDir(), l.Name) })
	if err != nil {
		return nil, err
	}
	m := &Machine{Name: o.Name, IP: l.IP, Dir: filepath.Join(l.Dir, "root"), lease: l, memory: o.Memory,
		changed: make(chan struct{})}
	if err := m.fill(ctx, source, o); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// fill copies the root and makes it this machine's.
func (m *Machine) fill(ctx context.Context, source string, o *Options) error {
	if err := os.MkdirAll(m.lease.Dir, 0o755); err != nil {
		return err
	}
	if err := copyTree(ctx, source, m.Dir); err != nil {
		return err
	}
	if m.memory > 0 {
		if err := m.writeMeminfo(); err != nil {
			return err
		}
	}
	files, err := m.identity(o)
	if err != nil {
		return err
	}
	for _, f := range append(files, o.Files...) {
		if err := writeIn(m.Dir, f.Path, f.Data, f.Mode); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	return nil
}

// identity renders the files by which one copy differs from another. A saved root keeps its machine id and its sources.
func (m *Machine) identity(o *Options) ([]File, error) {
	resolver, err := resolverFile(o.Resolver)
	if err != nil {
		return nil, err
	}
	files := []File{
		{"etc/hostname", []byte(m.Name + "\n"), 0o644},
		{"etc/resolv.conf", resolver, 0o644},
		{networkdFile, m.network(), 0o644},
		{aptProxyFile, aptProxy(o.AptCache), 0o644},
	}
	if o.From == "" {
		files = append(files,
			File{"etc/hosts", []byte("127.0.0.1 localhost\n127.0.1.1 " + m.Name + "\n::1 localhost\n"), 0o644},
			File{"etc/machine-id", []byte(machineID() + "\n"), 0o444},
			File{"etc/apt/sources.list", []byte(hostMirrors().sourcesList(o.Suite)), 0o644})
	}
	return files, nil
}

func (m *Machine) network() []byte {
	return fmt.Appendf(nil, "[Match]\nName=host0\n\n[Network]\nAddress=%s/24\nGateway=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
		m.IP, HostIP())
}

func machineID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand never fails
	return hex.EncodeToString(id[:])
}

// copyTree copies a root with owners, modes, links and holes; by reference where the file system can.
func copyTree(ctx context.Context, from, to string) error {
	_, err := run(ctx, "cp", "-a", "--reflink=auto", "--", from, to)
	return err
}

// Save copies the root of a machine that is off to a folder outside of it, to be the From of others. The folder must not
// exist; it appears whole or not at all.
func (m *Machine) Save(ctx context.Context, path string) error {
	if m.Running() {
		return fmt.Errorf("machine %s is on: power it off before it is saved", m.Name)
	}
	if exists(path) {
		return fmt.Errorf("%s exists already", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d.part", path, os.Getpid())
	if err := copyTree(ctx, m.Dir, part); err != nil {
		return errors.Join(err, removeTree(ctx, part))
	}
	return os.Rename(part, path)
}

// Saved returns CacheDir/saved/name, made once: the machine that o describes is booted, prepared and saved there. Later calls
// and other processes find it. Give a name that changes with what prepare does.
func Saved(ctx context.Context, name string, o Options, prepare func(*Machine) error) (string, error) {
	return cached(ctx, filepath.Join("saved", name), func(part string) error {
		m, err := Boot(ctx, o)
		if err != nil {
			return err
		}
		defer m.Close()
		if err := prepare(m); err != nil {
			return err
		}
		if err := m.PowerOff(ctx); err != nil {
			return err
		}
		return m.Save(ctx, part)
	})
}

// Close ends the machine at once and removes its processes, groups, folder and address. Calling it again does nothing.
func (m *Machine) Close() error {
	m.mu.Lock()
	done := m.closed
	m.closed = true
	m.mu.Unlock()
	if done {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := m.PullPlug()
	var rest string
	err = errors.Join(err, withLock(ctx, leaseLock(), func() (err error) {
		rest, err = m.lease.end(ctx)
		return err
	}))
	return errors.Join(err, os.RemoveAll(rest)) // gigabytes, for which nobody else has to wait
}
