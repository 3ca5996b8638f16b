// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"container/heap"
	"hash/maphash"
	"sync"
	"time"
)

// remembered is how many keys one allowance knows at most: about a megabyte.
const remembered = 10_000

// allowance lets every key try burst times at once, and then as often as tries
// come back: burst in each window. It lives in memory, so that a stranger's tries
// cost the disk nothing; a restart forgives everybody.
//
// A key owes time: each try adds window/burst, and the clock pays it back. When
// there are more keys than fit, the one that owes the least goes. To be forgotten
// early, somebody would thus have to make all the others owe more than they do,
// which takes far more tries than it gives back.
type allowance struct {
	burst  int
	window time.Duration
	most   int

	mu    sync.Mutex
	seed  maphash.Seed
	debts map[uint64]*debt
	least debtHeap
}

// debt is until when a key owes.
type debt struct {
	key   uint64
	until time.Time
	at    int // place in the heap
}

func newAllowance(burst int, window time.Duration) *allowance {
	return &allowance{burst: burst, window: window, most: remembered, seed: maphash.MakeSeed(), debts: map[uint64]*debt{}}
}

// take is one try of the key; false means that it has none left. A refused try
// costs nothing, so that trying again doesn't make the wait longer.
func (a *allowance) take(key string) bool {
	_, ok := a.turn(key)
	return ok
}

// turn is take for those who stand in line: it also tells how long it is until
// the tries that were made before are paid back.
func (a *allowance) turn(key string) (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, id := time.Now(), maphash.String(a.seed, key)
	a.forget(now)
	d, known := a.debts[id]
	if known {
		wait = d.until.Sub(now)
	}
	each := a.window / time.Duration(a.burst)
	if wait+each > a.window {
		return wait, false
	}
	if !known {
		d = a.add(id)
	}
	d.until = now.Add(wait + each)
	heap.Fix(&a.least, d.at)
	return wait, true
}

// forget drops who owes nothing any more.
func (a *allowance) forget(now time.Time) {
	for len(a.least) > 0 && !now.Before(a.least[0].until) {
		a.drop()
	}
}

func (a *allowance) drop() {
	d, _ := heap.Pop(&a.least).(*debt)
	delete(a.debts, d.key)
}

func (a *allowance) add(id uint64) *debt {
	if len(a.debts) >= a.most {
		a.drop()
	}
	d := &debt{key: id}
	a.debts[id] = d
	heap.Push(&a.least, d)
	return d
}

// debtHeap has who owes the least on top.
type debtHeap []*debt

func (h debtHeap) Len() int           { return len(h) }
func (h debtHeap) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h debtHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push is for container/heap.
func (h *debtHeap) Push(x any) {
	d, _ := x.(*debt)
	d.at = len(*h)
	*h = append(*h, d)
}

// Pop is for container/heap.
func (h *debtHeap) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return d
}
