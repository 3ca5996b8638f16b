// SPDX-License-Identifier: AGPL-3.0-or-later

package lossydisk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
)

const sectors = 64

func newDisk(t *testing.T) *Disk {
	t.Helper()
	d, err := New(make([]byte, sectors*SectorSize), SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func filled(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n*SectorSize) }

func seeded(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 0)) }

// client is the other end of the protocol, as far as the test needs it.
type client struct {
	t    *testing.T
	conn net.Conn
}

// connect serves the disk and shakes hands as QEMU does: an option that is not
// known, then the export.
func connect(t *testing.T, d *Disk) *client {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(conn.Close(), l.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	c := &client{t, conn}
	var hello struct {
		Magic, Option uint64
		Flags         uint16
	}
	c.get(&hello)
	if hello.Magic != magicServer || hello.Option != magicOption || hello.Flags&fixedNewstyle == 0 {
		t.Fatalf("the server says %+v", hello)
	}
	c.put(uint32(fixedNewstyle|noZeroes), uint64(magicOption), uint32(8), uint32(0))
	if kind, _ := c.answer(); kind != answerUnsupported {
		t.Fatalf("structured replies: %d", kind)
	}
	c.put(uint64(magicOption), uint32(optGo), uint32(6), uint32(0), uint16(0))
	kind, info := c.answer()
	var export struct {
		Kind  uint16
		Size  int64
		Flags uint16
	}
	if err := receive(bytes.NewReader(info), &export); err != nil || kind != answerInfo || export.Size != d.Size() {
		t.Fatalf("the export is %+v, %v", export, err)
	}
	if kind, _ := c.answer(); kind != answerAck {
		t.Fatalf("the end of the options: %d", kind)
	}
	return c
}

func (c *client) put(values ...any) {
	c.t.Helper()
	if err := send(c.conn, values...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) get(value any) {
	c.t.Helper()
	if err := receive(c.conn, value); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) answer() (kind uint32, data []byte) {
	c.t.Helper()
	var a struct {
		Magic             uint64
		Option, Kind, Len uint32
	}
	c.get(&a)
	data = make([]byte, a.Len)
	if _, err := io.ReadFull(c.conn, data); err != nil || a.Magic != magicAnswer {
		c.t.Fatalf("an answer with magic %#x: %v", a.Magic, err)
	}
	return a.Kind, data
}

func (c *client) request(kind, flags uint16, at int64, n int, data []byte) {
	c.t.Helper()
	c.put(uint32(magicRequest), flags, kind, uint64(7), at, uint32(n), data)
}

// do sends a request and waits for its reply.
func (c *client) do(kind, flags uint16, at int64, n int, data []byte) (errno uint32) {
	c.t.Helper()
	c.request(kind, flags, at, n, data)
	var r struct {
		Magic, Errno uint32
		Cookie       uint64
	}
	c.get(&r)
	if r.Magic != magicReply || r.Cookie != 7 {
		c.t.Fatalf("the reply is %+v", r)
	}
	return r.Errno
}

func (c *client) write(sector int64, data []byte, flags uint16) {
	c.t.Helper()
	if errno := c.do(cmdWrite, flags, sector*SectorSize, len(data), data); errno != 0 {
		c.t.Fatalf("write: error %d", errno)
	}
}

func (c *client) read(sector int64, n int) []byte {
	c.t.Helper()
	if errno := c.do(cmdRead, 0, sector*SectorSize, n*SectorSize, nil); errno != 0 {
		c.t.Fatalf("read: error %d", errno)
	}
	data := make([]byte, n*SectorSize)
	if _, err := io.ReadFull(c.conn, data); err != nil {
		c.t.Fatal(err)
	}
	return data
}

func (c *client) flush() {
	c.t.Helper()
	if errno := c.do(cmdFlush, 0, 0, 0, nil); errno != 0 {
		c.t.Fatalf("flush: error %d", errno)
	}
}

// TestProtocol reads back what was written, before and after a flush.
func TestProtocol(t *testing.T) {
	d := newDisk(t)
	d.On()
	c := connect(t, d)
	c.write(3, filled('a', 2), 0)
	if got := c.read(2, 4); !bytes.Equal(got, append(append(filled(0, 1), filled('a', 2)...), filled(0, 1)...)) {
		t.Error("what was just written is not read")
	}
	if !bytes.Equal(d.Content(), filled(0, sectors)) {
		t.Error("it is durable without a flush")
	}
	c.flush()
	if !bytes.Equal(d.Content()[3*SectorSize:5*SectorSize], filled('a', 2)) {
		t.Error("a flush does not make it durable")
	}
	if errno := c.do(cmdWrite, 0, sectors*SectorSize, SectorSize, filled('b', 1)); errno != errnoInvalid {
		t.Errorf("a write behind the end: error %d", errno)
	}
	if errno := c.do(cmdRead, 0, 1, SectorSize, nil); errno != errnoInvalid {
		t.Errorf("a read of half sectors: error %d", errno)
	}
	if errno := c.do(99, 0, 0, 0, nil); errno != errnoInvalid {
		t.Errorf("an unknown request: error %d", errno)
	}
	c.request(cmdLeave, 0, 0, 0, nil)
	if n, err := c.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after leaving: %d bytes, %v", n, err)
	}
}

// TestCut wants every sector to be old or new after a cut, what was flushed to be
// there, and over some seeds all three fates.
func TestCut(t *testing.T) {
	var all Loss
	for seed := range 60 {
		d := newDisk(t)
		d.On()
		c := connect(t, d)
		c.write(0, filled('a', 4), 0)
		c.flush()
		for i := range int64(10) {
			c.write(i, filled('b', 4), 0)
		}
		c.write(20, filled('c', 2), flagFUA)
		l := d.Off(seeded(seed))
		all.Kept, all.Dropped, all.Torn = all.Kept+l.Kept, all.Dropped+l.Dropped, all.Torn+l.Torn
		if l.Kept+l.Dropped+l.Torn != 10 {
			t.Errorf("seed %d: %v of 10 writes", seed, l)
		}
		got := d.Content()
		for s := range sectors {
			sector, old := got[s*SectorSize:(s+1)*SectorSize], byte(0)
			if s < 4 {
				old = 'a'
			}
			isNew := s < 13 && bytes.Equal(sector, filled('b', 1)) || (s == 20 || s == 21) && bytes.Equal(sector, filled('c', 1))
			if !isNew && (!bytes.Equal(sector, filled(old, 1)) || s == 20 || s == 21) {
				t.Fatalf("seed %d: sector %d is %q", seed, s, sector[:4])
			}
		}
	}
	t.Log(all)
	if all.Kept == 0 || all.Dropped == 0 || all.Torn == 0 {
		t.Errorf("not every fate: %v", all)
	}
}

// TestForcedWriteIsLast: what was written before to the same sectors can not come
// back over a write that was forced.
func TestForcedWriteIsLast(t *testing.T) {
	for seed := range 30 {
		d := newDisk(t)
		d.On()
		c := connect(t, d)
		c.write(0, filled('a', 3), 0)
		c.write(1, filled('b', 1), flagFUA)
		d.Off(seeded(seed))
		if got := d.Content()[SectorSize : 2*SectorSize]; !bytes.Equal(got, filled('b', 1)) {
			t.Fatalf("seed %d: the sector is %q", seed, got[:4])
		}
	}
}

// TestPowerGoesWithARequest: the request is not answered, a flush does nothing, and
// the disk works again when the power is back.
func TestPowerGoesWithARequest(t *testing.T) {
	d := newDisk(t)
	dark := d.On()
	c := connect(t, d)
	d.FailAt(3)
	c.write(0, filled('a', 1), 0)
	c.write(1, filled('b', 1), 0)
	c.request(cmdFlush, 0, 0, 0, nil)
	<-dark
	c.request(cmdRead, 0, 0, SectorSize, nil)
	if !bytes.Equal(d.Content(), filled(0, sectors)) {
		t.Error("the flush was carried out")
	}
	if l := d.Off(seeded(1)); l.Kept+l.Dropped+l.Torn != 2 {
		t.Errorf("of two writes: %v", l)
	}
	d.On()
	c = connect(t, d)
	c.write(5, filled('e', 1), 0)
	c.flush()
	if !bytes.Equal(c.read(5, 1), filled('e', 1)) {
		t.Error("it does not work with the power back")
	}
}

// TestSameSeedSameLoss: a seed repeats a cut.
func TestSameSeedSameLoss(t *testing.T) {
	cut := func() []byte {
		d := newDisk(t)
		d.On()
		for i := range int64(30) {
			if err := d.write(filled(byte('a'+i), 3), i*SectorSize, false); err != nil {
				t.Fatal(err)
			}
		}
		d.Off(seeded(5))
		return d.Content()
	}
	if !bytes.Equal(cut(), cut()) {
		t.Error("the same seed gives another loss")
	}
}

func TestNewRefusesHalfSectors(t *testing.T) {
	for _, n := range []int{0, 1, SectorSize + 1} {
		if _, err := New(make([]byte, n), SectorSize); err == nil {
			t.Errorf("a disk of %d bytes is made", n)
		}
	}
	for _, unit := range []int64{0, 1, SectorSize + 1} {
		if _, err := New(make([]byte, SectorSize), unit); err == nil {
			t.Errorf("a disk with units of %d bytes is made", unit)
		}
	}
}

// TestUnitsAreWhole tears writes, and none inside of a unit.
func TestUnitsAreWhole(t *testing.T) {
	const unit = 8
	torn := 0
	for seed := range 60 {
		d, err := New(make([]byte, sectors*SectorSize), unit*SectorSize)
		if err != nil {
			t.Fatal(err)
		}
		d.On()
		if err := d.write(filled('a', sectors), 0, false); err != nil {
			t.Fatal(err)
		}
		torn += d.Off(seeded(seed)).Torn
		got := d.Content()
		for s := range sectors {
			if first := s / unit * unit; got[s*SectorSize] != got[first*SectorSize] {
				t.Fatalf("seed %d: the unit of sector %d is torn", seed, s)
			}
		}
	}
	if torn == 0 {
		t.Error("no write was torn")
	}
}
