// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// view is what was last seen of one stack.
type view struct {
	Containers []Container
	// Upstream is where its web service answers, or empty; Seen is false while
	// nobody has found out.
	Upstream string
	Seen     bool
	// Gate is what visitors meet; the zero value is open.
	Gate     Gate
	Findings []Finding
	// Failed counts attempts to start a service that came to nothing.
	Failed map[string]attempts
	// Refresh is the last attempt to swap the containers for new settings.
	Refresh refresh
}

// attempts are failed attempts in a row, when the last one ended, and why.
type attempts struct {
	Count int
	Last  time.Time
	Err   error
}

// refresh is an attempt to give containers these settings.
type refresh struct {
	Settings string
	At       time.Time
}

// views holds a view for each stack that was looked at.
type views struct {
	mu  sync.Mutex
	all map[string]view
}

func (v *views) change(stack string, f func(*view)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.all == nil {
		v.all = map[string]view{}
	}
	one := v.all[stack]
	f(&one)
	v.all[stack] = one
}

func (v *views) get(stack string) (view, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	one, ok := v.all[stack]
	return one, ok
}

func (v *views) forget(stack string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.all, stack)
}

func (v *views) upstream(stack string) (address string, seen bool) {
	one, _ := v.get(stack)
	return one.Upstream, one.Seen
}

// point says where the stack's web service answers.
func (v *views) point(stack, upstream string) {
	v.change(stack, func(one *view) { one.Upstream, one.Seen = upstream, true })
}

// gate says what visitors of the stack meet from the next document on.
func (v *views) gate(stack string, g Gate) {
	v.change(stack, func(one *view) { one.Gate = g })
}

func (v *views) findings() []Finding {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []Finding
	for _, name := range slices.Sorted(maps.Keys(v.all)) {
		all = append(all, v.all[name].Findings...)
	}
	return all
}
