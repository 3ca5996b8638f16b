// SPDX-License-Identifier: AGPL-3.0-or-later

package password

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/stacks/coop"
)

func TestHasher(t *testing.T) {
	ctx, h := t.Context(), New()
	one, err := h.Hash(ctx, "a good long one")
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.Hash(ctx, "a good long one")
	if err != nil {
		t.Fatal(err)
	}
	if one == two || !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s, %s", one, two)
	}
	for _, c := range []struct {
		password, encoded string
		want              bool
	}{{"a good long one", one, true}, {"a good long one", two, true}, {"another one", one, false}, {"", one, false}, {"", "", false}, {"x", "", false}} {
		if got, err := h.Matches(ctx, c.password, c.encoded); err != nil || got != c.want {
			t.Errorf("%q, %q: %v, %v", c.password, c.encoded, got, err)
		}
	}
	if _, err := h.Matches(ctx, "x", "$2y$10$something"); err == nil {
		t.Error("a foreign hash is taken")
	}
}

// TestRoom: a third caller waits, and gives up after a while.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		for range atOnce {
			h.room <- struct{}{}
		}
		start := time.Now()
		_, err := h.Hash(t.Context(), "x")
		if p, ok := coop.ProblemOf(err); !ok || p.Kind != coop.Busy || time.Since(start) != patience {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		<-h.room
		if _, err := h.Hash(t.Context(), "x"); err != nil {
			t.Error(err)
		}
	})
}

// TestLine: those who wait are bounded too; whoever comes then hears it at once.
func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New()
		for range atOnce + waiting {
			h.line <- struct{}{}
		}
		start := time.Now()
		_, err := h.Hash(t.Context(), "x")
		if p, ok := coop.ProblemOf(err); !ok || p.Kind != coop.Busy || time.Since(start) != 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}
