// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const sshPort = 22

// QEMUOptions say what virtual machine to boot. The zero value is an arm64 Debian 12 with 1 GiB of memory.
type QEMUOptions struct {
	Name     string     // the machine's host name; "box" if empty
	Arch     string     // "arm64" (if empty) or "amd64"
	Suite    string     // "bookworm" (if empty) or "trixie"
	Memory   int64      // bytes; 0: 1 GiB
	Disk     int64      // bytes; 0: 4 GiB; the file is sparse
	CPUs     int        // 0: 2
	IP       netip.Addr // on the bridge; the next free one if not set
	Resolver netip.Addr // the build machine's if not set
	AptCache string     // see Options.AptCache
}

// VM is a Debian under QEMU: its own kernel, cgroup v2, AppArmor. Its methods may be called from several goroutines.
type VM struct {
	Name string
	IP   netip.Addr // on the bridge, like that of a Machine

	options QEMUOptions
	lease   lease
	image   image
	shell   *shell

	mu     sync.Mutex
	cmd    *exec.Cmd     // QEMU; nil while off
	done   chan struct{} // closed when QEMU ended
	closed bool
}

var _ Host = (*VM)(nil)

// SetupQEMU is Setup with what virtual machines of an architecture need.
func SetupQEMU(ctx context.Context, log io.Writer, arch string) error {
	if err := Setup(ctx, log); err != nil {
		return err
	}
	if log == nil {
		log = io.Discard
	}
	return withLock(ctx, filepath.Join(runDir(), "setup.lock"), func() error {
		return install(ctx, log, missing(QEMUNeeds(arch)))
	})
}

func (o *QEMUOptions) defaults() (platform, error) {
	base := Options{Name: o.Name, Suite: o.Suite}
	if err := base.defaults(); err != nil {
		return platform{}, err
	}
	o.Name, o.Suite = base.Name, base.Suite
	if o.Arch == "" {
		o.Arch = "arm64"
	}
	o.Memory, o.Disk = max(o.Memory, 0), max(o.Disk, 0)
	if o.Memory == 0 {
		o.Memory = 1 << 30
	}
	if o.Disk == 0 {
		o.Disk = 4 << 30
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	p, ok := platforms()[o.Arch]
	if !ok {
		return p, fmt.Errorf("there are no virtual machines of architecture %q", o.Arch)
	}
	return p, nil
}

// BootQEMU boots a virtual machine on a disk of its own and waits until systemd is up. The first time, the image is prepared:
// some minutes for a foreign architecture. SetupQEMU must have run. The caller must Close it.
func BootQEMU(ctx context.Context, o QEMUOptions) (*VM, error) {
	p, err := o.defaults()
	if err != nil {
		return nil, err
	}
	img, err := prepare(ctx, o.Suite, p, o.Disk)
	if err != nil {
		return nil, fmt.Errorf("prepare a %s machine: %w", o.Arch, err)
	}
	key, err := os.ReadFile(img.Key)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", img.Key, err)
	}
	l, err := takeLease(ctx, o.IP, func(l *lease) { l.Dir = filepath.Join(machinesDir(), l.Name) })
	if err != nil {
		return nil, err
	}
	v := &VM{Name: o.Name, IP: l.IP, options: o, lease: l, image: img,
		shell: &shell{at: netip.AddrPortFrom(l.IP, sshPort), key: signer}}
	if err := v.first(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("boot machine %s: %w\n%s", o.Name, err, tail(v.Console(), 2000)), v.Close())
	}
	return v, nil
}

// first makes the disk, an overlay on the prepared image, and boots.
func (v *VM) first(ctx context.Context) error {
	if err := os.MkdirAll(v.lease.Dir, 0o755); err != nil {
		return err
	}
	_, err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", v.image.Disk, v.diskPath())
	if err != nil {
		return err
	}
	return v.PowerOn(ctx)
}

func (v *VM) diskPath() string    { return filepath.Join(v.lease.Dir, "disk.qcow2") }
func (v *VM) consolePath() string { return filepath.Join(v.lease.Dir, "console.log") }

// Console returns the end of what the machine wrote on its serial line, over all boots.
func (v *VM) Console() string {
	data, err := os.ReadFile(v.consolePath())
	if err != nil {
		return ""
	}
	return tail(string(data), 64<<10)
}

// Address is IP, for those who have a Host.
func (v *VM) Address() netip.Addr { return v.IP }

// args is QEMU's command line.
func (v *VM) args() ([]string, error) {
	resolver, err := v.resolver()
	if err != nil {
		return nil, err
	}
	p, o := platforms()[v.options.Arch], v.options
	accel := "tcg,thread=multi,tb-size=256"
	if exists("/dev/kvm") && hostArch() == o.Arch {
		accel = "kvm"
	}
	line := fmt.Sprintf("root=/dev/vda rw console=%s quiet testhost.name=%s testhost.address=%s testhost.gateway=%s testhost.resolver=%s testhost.proxy=%s",
		p.Console, v.Name, v.IP, HostIP(), resolver, o.AptCache)
	args := append([]string{p.Program}, p.Machine...)
	return append(args, "-smp", strconv.Itoa(o.CPUs), "-m", strconv.FormatInt(o.Memory>>20, 10), "-accel", accel,
		"-kernel", v.image.Kernel, "-initrd", v.image.Initrd, "-append", line,
		"-drive", "file="+v.diskPath()+",if=none,id=d0,format=qcow2,cache=writeback", "-device", "virtio-blk-pci,drive=d0",
		"-netdev", "tap,id=n0,script=no,downscript=no,ifname="+v.lease.Name,
		"-device", fmt.Sprintf("virtio-net-pci,netdev=n0,mac=52:54:00:77:00:%02x", v.IP.As4()[3]),
		"-device", "virtio-rng-pci", "-nodefaults", "-display", "none",
		"-chardev", "file,id=c0,append=on,path="+v.consolePath(), "-serial", "chardev:c0"), nil
}

func (v *VM) resolver() (netip.Addr, error) {
	if v.options.Resolver.IsValid() {
		return v.options.Resolver, nil
	}
	servers, err := Resolvers()
	if err != nil {
		return netip.Addr{}, err
	}
	return servers[0], nil
}

// Running tells whether the machine is on.
func (v *VM) Running() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cmd != nil
}

// Exec is as in Host.
func (v *VM) Exec(ctx context.Context, c Command) (Result, error) { return execute(ctx, v, c) }

// Output runs a program and returns its standard output; a non-zero exit code is an error.
func (v *VM) Output(ctx context.Context, args ...string) (string, error) { return output(ctx, v, args) }

// Start starts a program; its output goes to c.Stdout and c.Stderr while it runs. The end of the context kills it.
func (v *VM) Start(ctx context.Context, c Command) (*Process, error) {
	v.mu.Lock()
	done, on := v.done, v.cmd != nil
	v.mu.Unlock()
	if !on {
		return nil, fmt.Errorf("machine %s: %w", v.Name, errOff)
	}
	// The connection attempts end when QEMU does; the program's own context is the caller's.
	dialing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-done:
			cancel(errOff)
		case <-dialing.Done():
		}
	}()
	if _, err := v.shell.connect(dialing); err != nil {
		return nil, err
	}
	return v.shell.start(ctx, c)
}

// CopyIn copies a file of the build machine into the running machine. It appears there whole or not at all.
func (v *VM) CopyIn(ctx context.Context, src, dst string, mode os.FileMode) error {
	file, err := os.Open(src)
	if err != nil {
		return err
	}
	defer file.Close()
	return putFile(ctx, v, file, dst, mode)
}

// WriteFile writes a file in the running machine, atomically, making folders as needed.
func (v *VM) WriteFile(ctx context.Context, path string, data []byte, mode os.FileMode) error {
	return putFile(ctx, v, bytes.NewReader(data), path, mode)
}

// ReadFile reads a file of the running machine.
func (v *VM) ReadFile(ctx context.Context, path string) ([]byte, error) {
	out, err := v.Output(ctx, "cat", "--", path)
	return []byte(out), err
}

// AddHost makes a name resolve to an address in the running machine.
func (v *VM) AddHost(ctx context.Context, name, ip string) error { return addHost(ctx, v, name, ip) }

// Close ends the machine at once and removes its processes, disk and address. Calling it again does nothing.
func (v *VM) Close() error {
	v.mu.Lock()
	was := v.closed
	v.closed = true
	v.mu.Unlock()
	if was {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := v.PullPlug()
	return errors.Join(err, withLock(ctx, leaseLock(), func() error { return v.lease.remove(ctx) }))
}
