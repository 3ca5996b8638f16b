// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rochdale/installer/testhost"
)

const (
	device = "/dev/vda"
	home   = "/box" // where the disk is mounted
)

func main() {
	c := &console{}
	if err := run(context.Background(), c); err != nil {
		c.say("bad %v", err)
	}
	for {
		_ = unix.Pause() // process 1 must not end
	}
}

func run(ctx context.Context, c *console) error {
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	if err := c.open(); err != nil {
		return err
	}
	modules, err := filepath.Glob(testhost.SmallModules + "/*")
	if err != nil || len(modules) == 0 {
		return fmt.Errorf("no kernel modules: %w", errors.Join(err, os.ErrNotExist))
	}
	last := len(modules) - 1
	if err := load(modules[:last]...); err != nil {
		return err
	}
	o, err := c.order()
	if err != nil {
		return err
	}
	if err := o.wake(); err != nil {
		return err
	}
	if err := errors.Join(load(modules[last]), os.MkdirAll(home, 0o755)); err != nil {
		return err
	}
	if err := unix.Mount(device, home, "ext4", 0, o.Mount); err != nil {
		c.say("refused %v", err)
		return nil
	}
	return live(ctx, o, c)
}

func load(modules ...string) error {
	for _, path := range modules {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		err = errors.Join(unix.FinitModule(int(file.Fd()), "", 0), file.Close())
		if err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

// Order is what the test wants of a life.
type Order struct {
	Now   int64    `json:"now"`   // the time, in milliseconds: the machine was saved before
	Mount string   `json:"mount"` // options
	Work  []string `json:"work"`
	// Skip is what durable files do not wait for: "file", "folder" or nothing.
	Skip string `json:"skip,omitempty"`
}

// wake sets the clock, and makes this life's random numbers others than those of
// all lives that began with the same memory.
func (o Order) wake() error {
	now := unix.NsecToTimeval(o.Now * int64(time.Millisecond))
	if err := unix.Settimeofday(&now); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	pool, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(pool, o.Now)
	const reseed = 0x5207 // RNDRESEEDCRNG
	return errors.Join(err, unix.IoctlSetInt(int(pool.Fd()), reseed, 0), pool.Close())
}

// console is the serial line.
type console struct {
	mu   sync.Mutex
	line *os.File
}

func (c *console) open() error {
	fd, err := unix.Open("/dev/ttyS0", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open the serial line: %w", err)
	}
	how, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	how.Lflag &^= unix.ECHO
	c.line = os.NewFile(uintptr(fd), "console")
	return unix.IoctlSetTermios(fd, unix.TCSETS, how)
}

// say writes one line, whole.
func (c *console) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.line, format+"\n", args...)
}

func (c *console) ack(thing string, n int64)   { c.say("ack %s %d", thing, n) }
func (c *console) found(thing string, n int64) { c.say("found %s %d", thing, n) }

// order waits for the order. The machine is saved in here.
func (c *console) order() (o Order, err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			c.say(testhost.SmallReady)
			time.Sleep(100 * time.Millisecond)
		}
	}()
	text, err := bufio.NewReader(c.line).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return o, fmt.Errorf("read the order: %w", err)
	}
	return o, nil
}
