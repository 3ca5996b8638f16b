// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e && powercut

package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rochdale/installer/testhost"
	"rochdale/installer/testhost/lossydisk"
)

const (
	cutsShort = 10
	cutsLong  = 300
	// cutsToFind is within how many cuts a missing fsync must be found.
	cutsToFind = 12

	cutDisk = 32 << 20 // bytes
	cutUnit = 4096     // ext4 is not made for disks that tear its blocks
	// A cut comes with one of so many writes and flushes: of the whole life, whose
	// first dozens are those of mounting, looking and going on, or of its work.
	earlyRequest, lateRequest = 120, 600
	// quiet is how long a machine without its disk has nothing more to say.
	quiet = 100 * time.Millisecond
	// afterLife bounds one life on a busy machine.
	afterLife = 10 * time.Minute
)

// TestPowerCut cuts the power of a machine that works, again and again, on a disk
// that loses part of what was not flushed.
func TestPowerCut(t *testing.T) {
	r := newCutRig(t)
	t.Run("survived", func(t *testing.T) { survive(t, r) })
	for _, skip := range []string{"file", "folder"} {
		t.Run("found without fsync of the "+skip, func(t *testing.T) { findMissing(t, r, skip) })
	}
}

// survive wants of each life all that the one before acknowledged, and nothing by
// halves. ROCHDALE_SEED repeats the moments and losses of a run; a long one that
// was ended goes on with it.
func survive(t *testing.T, r *cutRig) {
	cuts := cutsShort
	if torture() {
		cuts = cutsLong
	}
	c := r.campaign(t, seedOf(t), "rows", "plans", "files", "self", "noise")
	if torture() {
		c.load()
	}
	began, first := time.Now(), c.Life
	for c.Life < cuts && !t.Failed() {
		for _, p := range c.cut("") {
			t.Error(p)
		}
		if torture() && !t.Failed() {
			c.store()
		}
	}
	t.Logf("%d cuts, %.1f s each; %d of %d lives came to work and acknowledged %d things; writes that were not flushed: %v",
		c.Life-first, time.Since(began).Seconds()/float64(c.Life-first), c.Checked, c.Life, c.Acks, c.Loss)
	if t.Failed() {
		t.Logf("the disk after the last cut: %s", c.keep())
		return
	}
	if c.Loss.Dropped+c.Loss.Torn == 0 || c.Checked < cuts/4 {
		t.Error("these cuts prove little")
	}
	c.forget()
}

// findMissing wants a program to be found out that does not wait for its files,
// or for their folders.
func findMissing(t *testing.T, r *cutRig, skip string) {
	c := r.campaign(t, seedOf(t), "files")
	for c.Life < cutsToFind {
		if found := c.cut(skip); len(found) > 0 {
			t.Logf("found by cut %d: %s", c.Life, strings.Join(found, "; "))
			return
		}
	}
	t.Errorf("not found within %d cuts", c.Life)
}

func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("ROCHDALE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d (repeat with ROCHDALE_SEED)", seed)
	return seed
}

// cutRig is the machine, and the socket of whatever disk is in it.
type cutRig struct {
	vm     *testhost.SmallVM
	dir    string
	socket string
}

func newCutRig(t *testing.T) *cutRig {
	t.Helper()
	began := time.Now()
	dir := t.TempDir()
	program := filepath.Join(dir, "cutbox")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "rochdale/installer/e2e/cutbox")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build cutbox: %v\n%s", err, out)
	}
	r := &cutRig{dir: dir, socket: filepath.Join(dir, "disk")}
	d, err := lossydisk.New(make([]byte, cutDisk), cutUnit)
	if err != nil {
		t.Fatal(err)
	}
	defer r.plug(t, d)()
	d.On()
	if r.vm, err = testhost.PrepareSmall(t.Context(), os.Stderr, testhost.SmallOptions{Program: program, Disk: r.socket, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	t.Logf("a machine is ready after %.1f s", time.Since(began).Seconds())
	return r
}

// plug puts a disk into the machine, until it is pulled.
func (r *cutRig) plug(t *testing.T, d *lossydisk.Disk) (pull func()) {
	t.Helper()
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	return func() {
		if err := errors.Join(l.Close(), <-served); err != nil {
			t.Error(err)
		}
	}
}

// campaign is a row of lives on one disk. What is exported outlives the process.
type campaign struct {
	Seed    uint64
	Life    int              // lives that ended
	Checked int              // those that came to work
	Acked   map[string]int64 // the last turn of each thing that was acknowledged
	Acks    int
	Loss    lossydisk.Loss

	t    *testing.T
	rig  *cutRig
	disk *lossydisk.Disk
	work []string
}

func (r *cutRig) campaign(t *testing.T, seed uint64, work ...string) *campaign {
	t.Helper()
	path := filepath.Join(r.dir, "fresh.img")
	defer os.Remove(path)
	out, err := exec.CommandContext(t.Context(), "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-E", "lazy_itable_init=0",
		path, strconv.Itoa(cutDisk>>10)+"K").CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	c := &campaign{Seed: seed, Acked: map[string]int64{}, t: t, rig: r, work: work}
	c.insert(path)
	return c
}

func (c *campaign) insert(path string) {
	c.t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		c.disk, err = lossydisk.New(data, cutUnit)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// cut is one life up to its end, and tells what was wrong.
func (c *campaign) cut(skip string) (wrong []string) {
	c.t.Helper()
	began := time.Now()
	r := rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%d %d", c.Seed, c.Life))))
	c.Life++
	m := moment{early: r.IntN(4) == 0, request: 1 + r.IntN(lateRequest)}
	if m.early {
		m.request = 1 + r.IntN(earlyRequest)
	}
	mount := ""
	if r.IntN(2) == 0 {
		mount = "noauto_da_alloc" // ext4 then does not guess that a file is meant to be durable
	}
	order, err := json.Marshal(map[string]any{"now": time.Now().UnixMilli(), "mount": mount, "work": c.work, "skip": skip})
	if err != nil {
		c.t.Fatal(err)
	}
	heard := c.life(string(order), m)
	loss := c.disk.Off(r)
	// The next life mounts what the cut left, or what is left of it by the check
	// that comes first when Debian boots.
	wrong = append(heard.wrong, c.fsck(r.IntN(2) == 0)...)
	for thing, n := range heard.acked {
		c.Acked[thing] = n
	}
	if heard.checked {
		c.Checked++
	}
	c.Acks += heard.acks
	c.Loss.Kept, c.Loss.Dropped, c.Loss.Torn = c.Loss.Kept+loss.Kept, c.Loss.Dropped+loss.Dropped, c.Loss.Torn+loss.Torn
	c.t.Logf("cut %d, %v%s: came to work: %v, %d acks, %v; %.1f s, %.1f s of processor", c.Life, m, mount,
		heard.checked, heard.acks, loss, time.Since(began).Seconds(), heard.busy.Seconds())
	return wrong
}

// moment is when a life ends: with a write or flush of it, or of its work.
type moment struct {
	early   bool
	request int
}

// String says it in a log.
func (m moment) String() string {
	if m.early {
		return fmt.Sprintf("request %d of life ", m.request)
	}
	return fmt.Sprintf("request %d of work ", m.request)
}

// life lets the machine live until the disk has gone dark, and listens.
func (c *campaign) life(order string, m moment) *hearing {
	c.t.Helper()
	h := &hearing{before: c.Acked, found: map[string]int64{}, acked: map[string]int64{}}
	pull := c.rig.plug(c.t, c.disk)
	defer pull()
	dark := c.disk.On()
	if m.early {
		c.disk.FailAt(m.request)
	}
	vm, err := c.rig.vm.Start(c.t.Context(), order)
	if err != nil {
		c.t.Fatal(err)
	}
	defer vm.Kill()
	ended := false
	kill := func() { ended = true; vm.Kill() }
	limit, cutAt := time.After(afterLife), (<-chan time.Time)(nil)
	for {
		select {
		case line, on := <-vm.Lines:
			if !on {
				if !ended {
					h.wrong = append(h.wrong, "the machine ended by itself: "+vm.Trouble())
				}
				h.busy = vm.Busy()
				return h
			}
			h.line(line)
			if line == checkedLine && !m.early {
				c.disk.FailAt(m.request)
			}
			if len(h.wrong) > 0 {
				kill()
			}
			if cutAt != nil {
				cutAt = time.After(quiet)
			}
		case <-dark:
			dark, cutAt = nil, time.After(quiet)
		case <-cutAt:
			kill()
		case <-limit:
			kill()
			h.wrong = append(h.wrong, fmt.Sprintf("%vdid not come; the last line was %q", m, h.last))
		}
	}
}

// hearing is what a life said.
type hearing struct {
	before  map[string]int64 // what was acknowledged in the lives before
	found   map[string]int64
	acked   map[string]int64
	acks    int
	checked bool
	wrong   []string
	last    string
	busy    time.Duration
}

// checkedLine is said between looking and work.
const checkedLine = "checked"

// line wants what was found to be all that was acknowledged.
func (h *hearing) line(line string) {
	h.last = line
	var thing string
	var n int64
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "ack", "found":
		if _, err := fmt.Sscanf(rest, "%s %d", &thing, &n); err != nil {
			h.wrong = append(h.wrong, line)
			return
		}
	}
	switch word {
	case "ack":
		h.acked[thing] = n
		h.acks++
	case "found":
		h.found[thing] = n
		if was := h.before[thing]; n < was {
			h.wrong = append(h.wrong, fmt.Sprintf("%s %d was acknowledged, %d is there", thing, was, n))
		}
	case checkedLine:
		h.checked = true
		for thing, was := range h.before {
			if _, ok := h.found[thing]; !ok {
				h.wrong = append(h.wrong, fmt.Sprintf("%s %d was acknowledged, nothing is there", thing, was))
			}
		}
	case testhost.SmallReady, "":
	default: // "bad", "refused", a panic, or the kernel's own words
		h.wrong = append(h.wrong, line)
	}
}

// fsck wants a file system that needs no person to mend it: what Debian runs at
// boot does, if its journal alone does not. With adopt, the disk is as that left it.
func (c *campaign) fsck(adopt bool) []string {
	c.t.Helper()
	path := filepath.Join(c.rig.dir, "look.img")
	if err := writeSparse(path, c.disk.Content()); err != nil {
		c.t.Fatal(err)
	}
	defer os.Remove(path)
	out, err := exec.CommandContext(c.t.Context(), "e2fsck", "-f", "-p", path).CombinedOutput()
	const mended = 1 // the journal was replayed
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() == mended {
		if adopt {
			c.insert(path)
		}
		return nil
	}
	return []string{fmt.Sprintf("e2fsck: %v\n%s", err, out)}
}

// writeSparse leaves out what is zero: most of such a disk.
func writeSparse(path string, data []byte) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Truncate(int64(len(data))), file.Close()) }()
	const block = 64 << 10
	zero := string(make([]byte, block))
	for at := 0; at < len(data); at += block {
		if part := data[at:min(at+block, len(data))]; string(part) != zero {
			if _, err := file.WriteAt(part, int64(at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// folder keeps a long campaign between the cuts.
func (c *campaign) folder() string {
	return filepath.Join(testhost.CacheDir(), "powercut", strconv.FormatUint(c.Seed, 10))
}

func (c *campaign) image() string { return filepath.Join(c.folder(), "disk.img") }

// keep writes the disk where a person can look at it.
func (c *campaign) keep() string {
	c.t.Helper()
	if err := errors.Join(os.MkdirAll(c.folder(), 0o755), writeSparse(c.image(), c.disk.Content())); err != nil {
		c.t.Error(err)
	}
	return c.image()
}

// store and load let a long campaign go on. A run that was ended in store itself
// begins anew: the image is there, and its words are not.
func (c *campaign) store() {
	c.t.Helper()
	words := filepath.Join(c.folder(), "campaign.json")
	if err := os.Remove(words); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.t.Fatal(err)
	}
	c.keep()
	data, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(words, data, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *campaign) load() {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.folder(), "campaign.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(data, c)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.insert(c.image())
	c.t.Logf("it goes on after cut %d", c.Life)
}

func (c *campaign) forget() {
	if err := os.RemoveAll(c.folder()); err != nil {
		c.t.Error(err)
	}
}
