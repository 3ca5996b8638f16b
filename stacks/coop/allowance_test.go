// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAllowance(10, 10*time.Minute)
		taken := func(key string, tries int) (n int) {
			for range tries {
				if a.take(key) {
					n++
				}
			}
			return n
		}
		if n := taken("a", 50); n != 10 {
			t.Errorf("%d tries at once and not 10", n)
		}
		if n := taken("b", 3); n != 3 {
			t.Errorf("another's tries are counted: %d", n)
		}
		time.Sleep(2 * time.Minute)
		if n := taken("a", 50); n != 2 {
			t.Errorf("%d tries after two minutes and not 2: refused ones must cost nothing", n)
		}
		time.Sleep(10 * time.Minute)
		a.take("c")
		if len(a.debts) != 1 || len(a.least) != 1 {
			t.Errorf("who owes nothing is kept: %d, %d", len(a.debts), len(a.least))
		}
	})
}

// TestAllowanceIsBounded: strangers can't make it grow, and can't wash away what
// they owe themselves with tries from other places.
func TestAllowanceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAllowance(10, 10*time.Minute)
		a.most = 100
		for range 10 {
			a.take("attacker")
		}
		for i := range 5_000 {
			a.take(fmt.Sprint("elsewhere ", i))
		}
		if len(a.debts) != 100 || len(a.least) != 100 {
			t.Errorf("%d and %d entries", len(a.debts), len(a.least))
		}
		if a.take("attacker") {
			t.Error("5000 tries from elsewhere bought a new allowance")
		}
		for i, d := range a.least {
			if d.at != i || a.debts[d.key] != d {
				t.Fatalf("entry %d lost its place", i)
			}
		}
	})
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAllowance(queueLength, queueWindow)
		for i := range queueLength {
			if wait, ok := a.turn("a"); !ok || wait != time.Duration(i)*2*time.Second {
				t.Errorf("turn %d is in %s, %v", i, wait, ok)
			}
		}
		if _, ok := a.turn("a"); ok {
			t.Error("the queue has no end")
		}
	})
}

func BenchmarkAllowance(b *testing.B) {
	a := newAllowance(10, time.Hour)
	for i := 0; b.Loop(); i++ {
		a.take(strconv.Itoa(i))
	}
}
