// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// SmallOptions say what a small machine consists of.
type SmallOptions struct {
	Program string // a static amd64 program that is process 1, from a file of the build machine
	Disk    string // the socket of an NBD server; the machine sees it as /dev/vda
	Dir     string // for the machine's own files
	Memory  int64  // bytes; 0: 160 MiB
}

// SmallVM is a virtual machine that runs Debian's kernel and one program, and is on within a second: it was booted once, up to
// where the program waits for an order, and every Start goes on from there. Until then nothing has looked at the disk, since
// its driver is not loaded; see SmallModules.
type SmallVM struct {
	options SmallOptions
	image   smallImage
	saved   string // the memory of the machine that waits
	accel   string // QEMU's way to run it
}

// SmallReady is the line by which the program tells that it waits for its order; it says so now and then until it has it, since
// what is sent to a machine that is not back yet would be lost.
const SmallReady = "ready"

// SmallNeeds lists what small machines need on the build machine.
func SmallNeeds() []Package {
	p := platforms()["amd64"]
	return []Package{{p.Package, p.Program}, {"e2fsprogs", "mke2fs"}}
}

// PrepareSmall brings what is missing on the build machine, and boots the machine once. It needs root.
func PrepareSmall(ctx context.Context, log io.Writer, o SmallOptions) (*SmallVM, error) {
	if o.Memory == 0 {
		o.Memory = 160 << 20
	}
	err := withLock(ctx, filepath.Join(runDir(), "setup.lock"), func() error { return install(ctx, log, missing(SmallNeeds())) })
	if err != nil {
		return nil, err
	}
	v := &SmallVM{options: o, saved: filepath.Join(o.Dir, "memory")}
	if v.image, err = makeSmallImage(ctx, log, o); err != nil {
		return nil, fmt.Errorf("prepare a small machine: %w", err)
	}
	if err := v.boot(ctx, log); err != nil {
		return nil, fmt.Errorf("boot a small machine: %w", err)
	}
	return v, nil
}

// boot boots by KVM where there is one that works: one that is itself within a virtual
// machine may stop at an instruction that it does not know.
func (v *SmallVM) boot(ctx context.Context, log io.Writer) error {
	if exists("/dev/kvm") && runtime.GOARCH == "amd64" {
		v.accel = "kvm"
		err := v.save(ctx, waitKVM)
		if err == nil || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(log, "The KVM of this machine does not do, so QEMU emulates: %s\n", tail(err.Error(), 300))
	}
	v.accel = "tcg,thread=multi,tb-size=64"
	return v.save(ctx, waitSmall)
}

// save boots the machine, waits until its program does, and keeps its memory.
func (v *SmallVM) save(ctx context.Context, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	socket := filepath.Join(v.options.Dir, "qmp")
	life, _, err := v.launch(nil, "-qmp", "unix:"+socket+",server=on,wait=off")
	if err != nil {
		return err
	}
	defer life.end()
	defer context.AfterFunc(ctx, life.Kill)()
	if err := life.ready(); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return v.keepMemory(ctx, socket)
}

// ready waits until the program waits.
func (l *SmallLife) ready() error {
	var said []string
	for line := range l.Lines {
		if line == SmallReady {
			return nil
		}
		said = append(said, line)
	}
	return fmt.Errorf("it ended before its program was ready\n%s\n%s", tail(strings.Join(said, "\n"), 2000), l.Trouble())
}

// keepMemory lets QEMU send the machine to a file, by the way on which it would go to another host.
func (v *SmallVM) keepMemory(ctx context.Context, qmp string) error {
	listener, err := net.Listen("unix", filepath.Join(v.options.Dir, "out"))
	if err != nil {
		return err
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	conn, err := net.Dial("unix", qmp)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, command := range []any{
		map[string]any{"execute": "qmp_capabilities"},
		map[string]any{"execute": "migrate", "arguments": map[string]any{"uri": "unix:" + listener.Addr().String()}},
	} {
		if err := json.NewEncoder(conn).Encode(command); err != nil {
			return err
		}
	}
	stream, err := listener.Accept()
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	file, err := os.Create(v.saved)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, stream) // QEMU closes it behind the last page
	return errors.Join(err, file.Close())
}

// SmallLife is a small machine that is on.
type SmallLife struct {
	// Lines is what comes over the serial line; closed when the machine is off.
	Lines <-chan string

	cmd  *exec.Cmd
	done chan struct{}
	kill sync.Once
	said capped // what QEMU itself says
}

// Start gives the waiting program an order of one line. The caller must Kill the life.
func (v *SmallVM) Start(ctx context.Context, order string) (*SmallLife, error) {
	memory, err := os.Open(v.saved)
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	const inherited = "fd:3" // the first one behind standard error
	life, in, err := v.launch(memory, "-incoming", inherited)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, life.Kill)
	defer stop()
	err = life.ready()
	if err == nil {
		_, err = io.WriteString(in, order+"\n")
	}
	if err != nil {
		life.end()
		return nil, errors.Join(err, context.Cause(ctx))
	}
	return life, nil
}

func (v *SmallVM) launch(memory *os.File, more ...string) (*SmallLife, io.Writer, error) {
	cmd := exec.Command("nice", append(append([]string{"-n", "10"}, v.args()...), more...)...)
	// It ends with the test, also with one that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	l := &SmallLife{cmd: cmd, done: make(chan struct{}), said: capped{limit: outputLimit}}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = &l.said
	if memory != nil {
		cmd.ExtraFiles = []*os.File{memory}
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	lines := make(chan string, 4096)
	l.Lines = lines
	go l.read(out, lines)
	return l, in, nil
}

// read passes the lines on, and waits for QEMU when there are no more. One that was cut off in the middle says nothing.
func (l *SmallLife) read(out io.Reader, lines chan<- string) {
	defer close(lines)
	from := bufio.NewReader(out)
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			break
		}
		lines <- strings.TrimRight(line, "\r\n")
	}
	_ = l.cmd.Wait() // it is killed, or it said why it ended
	close(l.done)
}

// Kill takes the machine's power. What it had written on its serial line can still be read from Lines.
func (l *SmallLife) Kill() {
	l.kill.Do(func() { _ = l.cmd.Process.Kill() }) // one that has ended is as dead
}

// end kills it and waits until it is gone.
func (l *SmallLife) end() {
	l.Kill()
	for range l.Lines { // nobody wants them
	}
	<-l.done
}

// Busy is how much processor time QEMU took, once the machine is off: what a life costs, however busy the build machine is.
func (l *SmallLife) Busy() time.Duration {
	<-l.done
	return l.cmd.ProcessState.UserTime() + l.cmd.ProcessState.SystemTime()
}

// Trouble is what QEMU itself said, once the machine is off.
func (l *SmallLife) Trouble() string {
	<-l.done
	return tail(l.said.String(), 2000)
}

func (v *SmallVM) args() []string {
	return []string{platforms()["amd64"].Program, "-M", "pc", "-cpu", "max", "-m", strconv.FormatInt(v.options.Memory>>20, 10),
		"-accel", v.accel, "-kernel", v.image.Kernel, "-initrd", v.image.Initramfs,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check", "-nodefaults", "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=c0,signal=off", "-serial", "chardev:c0",
		"-drive", "file=nbd+unix:///?socket=" + v.options.Disk + ",if=none,id=d0,format=raw,cache=writeback",
		"-device", "virtio-blk-pci,drive=d0"}
}

// waitSmall bounds one boot under software emulation on a busy machine, and waitKVM
// one that has a processor.
const waitSmall, waitKVM = 10 * time.Minute, time.Minute
