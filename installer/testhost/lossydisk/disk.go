// SPDX-License-Identifier: AGPL-3.0-or-later

package lossydisk

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

// SectorSize is the smallest request, in bytes.
const SectorSize = 512

var (
	errDark   = errors.New("the power is off")
	errBounds = errors.New("not whole sectors of this disk")
)

// Disk is a disk with a write cache that a power cut empties. It is safe for use
// by several goroutines. It is off at first.
type Disk struct {
	mu      sync.Mutex
	durable []byte
	unit    int64
	cache   map[int64][]version // by sector; what was not flushed, the oldest first
	writes  int                 // since the power came, to tell writes apart
	on      bool
	left    int           // requests that are still answered; 0: all
	dark    chan struct{} // closed when left has run out
}

// version is what one write put into a sector.
type version struct {
	write int
	data  []byte
}

// New makes a disk with this durable content, which is the disk's from now on.
// unit is how many bytes, beginning at a multiple of it, the disk writes wholly or
// not at all: a multiple of SectorSize.
func New(content []byte, unit int64) (*Disk, error) {
	if len(content) == 0 || len(content)%SectorSize != 0 || unit < SectorSize || unit%SectorSize != 0 {
		return nil, fmt.Errorf("a disk of %d bytes in units of %d: %w", len(content), unit, errBounds)
	}
	return &Disk{durable: content, unit: unit, cache: map[int64][]version{}}, nil
}

// Size is the size of the disk in bytes.
func (d *Disk) Size() int64 { return int64(len(d.durable)) }

// On gives the disk power, until the request that FailAt names. The channel is
// closed then.
func (d *Disk) On() (dark <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on, d.left, d.dark, d.writes = true, 0, make(chan struct{}), 0
	return d.dark
}

// FailAt makes the n-th write or flush from now on the first request that is not
// answered any more: the power goes while it is under way. With n = 0, or
// without this, the power stays.
func (d *Disk) FailAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = n
}

// Loss tells what a power cut did to the writes that were not flushed.
type Loss struct{ Kept, Dropped, Torn int }

// String says it on one line.
func (l Loss) String() string {
	return fmt.Sprintf("%d kept, %d dropped, %d torn", l.Kept, l.Dropped, l.Torn)
}

// Off takes the power away. Of what was not flushed, r chooses what is there
// afterwards: each write wholly, not at all, or some units of it. How likely
// each of them is differs from cut to cut, so that one that loses all and one
// that loses a single write come up too.
func (d *Disk) Off(r *rand.Rand) Loss {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on = false
	lose, tear := chance(r), chance(r)
	var l Loss
	fates := make([]fate, d.writes+1)
	for i := range fates {
		fates[i] = draw(r, lose, tear)
	}
	seen, units := map[int]bool{}, map[piece]bool{}
	for _, sector := range slices.Sorted(maps.Keys(d.cache)) {
		for _, v := range d.cache[sector] {
			p := piece{v.write, sector * SectorSize / d.unit}
			if _, drawn := units[p]; !drawn {
				units[p] = fates[v.write].keeps(r)
			}
			if units[p] {
				copy(d.durable[sector*SectorSize:], v.data)
			}
			if !seen[v.write] {
				seen[v.write] = true
				l.count(fates[v.write])
			}
		}
	}
	clear(d.cache)
	return l
}

// piece is one unit of one write.
type piece struct {
	write int
	unit  int64
}

// chance is often none or all.
func chance(r *rand.Rand) float64 {
	return min(max(r.Float64()*2-0.5, 0), 1)
}

type fate int

const (
	kept fate = iota
	dropped
	torn
)

func draw(r *rand.Rand, lose, tear float64) fate {
	switch {
	case r.Float64() >= lose:
		return kept
	case r.Float64() < tear:
		return torn
	default:
		return dropped
	}
}

// keeps tells whether one unit of such a write is there after the cut.
func (f fate) keeps(r *rand.Rand) bool { return f == kept || f == torn && r.IntN(2) == 0 }

func (l *Loss) count(f fate) {
	switch f {
	case kept:
		l.Kept++
	case dropped:
		l.Dropped++
	case torn:
		l.Torn++
	}
}

// Content copies what is durable. While the power is on, that is what a cut
// that loses all would leave.
func (d *Disk) Content() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.durable)
}

// read fills p with what was written last, flushed or not.
func (d *Disk) read(p []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(len(p), at); err != nil {
		return err
	}
	copy(p, d.durable[at:])
	for i := 0; i < len(p); i += SectorSize {
		if versions := d.cache[(at+int64(i))/SectorSize]; len(versions) > 0 {
			copy(p[i:], versions[len(versions)-1].data)
		}
	}
	return nil
}

// write takes p into the cache; with durably it is on the disk when write
// returns, as the NBD protocol calls "force unit access".
func (d *Disk) write(p []byte, at int64, durably bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(len(p), at); err != nil {
		return err
	}
	d.writes++
	data := slices.Clone(p)
	for i := 0; i < len(p); i += SectorSize {
		sector := (at + int64(i)) / SectorSize
		d.cache[sector] = append(d.cache[sector], version{d.writes, data[i : i+SectorSize]})
	}
	// The request at which the power goes is in the cache and may be kept.
	if d.spend() {
		return errDark
	}
	if durably {
		for i := 0; i < len(p); i += SectorSize {
			d.settle((at + int64(i)) / SectorSize)
		}
	}
	return nil
}

func (d *Disk) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.on || d.spend() {
		return errDark
	}
	for sector := range d.cache {
		d.settle(sector)
	}
	return nil
}

// settle makes the last version of a sector durable, and those before it void.
func (d *Disk) settle(sector int64) {
	versions := d.cache[sector]
	copy(d.durable[sector*SectorSize:], versions[len(versions)-1].data)
	delete(d.cache, sector)
}

// spend counts a request and tells whether the power goes with it.
func (d *Disk) spend() bool {
	if d.left == 0 {
		return false
	}
	d.left--
	if d.left > 0 {
		return false
	}
	d.on = false
	close(d.dark)
	return true
}

func (d *Disk) check(n int, at int64) error {
	switch {
	case !d.on:
		return errDark
	case at%SectorSize != 0 || n%SectorSize != 0 || at < 0 || at+int64(n) > d.Size():
		return errBounds
	}
	return nil
}
