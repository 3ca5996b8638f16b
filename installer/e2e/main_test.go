// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
)

// long is the environment variable that turns the seeded slices into the whole
// campaigns of `make torture`.
const long = "ROCHDALE_TORTURE"

func torture() bool { return os.Getenv(long) != "" }

// seeded chooses what a short run does. The seed is printed; ROCHDALE_SEED repeats
// a run.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("ROCHDALE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d (repeat with ROCHDALE_SEED)", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// boot gives a bare machine with the product's binary, or with the one that
// the environment variable names.
func boot(t *testing.T, o box.Options) *box.Box {
	t.Helper()
	ctx := t.Context()
	if o.Binary == "" {
		var err error
		if o.Binary, err = box.Binary(); err != nil {
			t.Fatal(err)
		}
	}
	o.Log = os.Stderr
	if o.AptCache == "" {
		o.AptCache = cache(t)
	}
	b, err := box.Boot(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, b)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func cache(t *testing.T) string {
	t.Helper()
	if err := testhost.Setup(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	c, err := testhost.StartAptCache(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c.URL
}

// explain shows what a person would look at after a failure.
func explain(t *testing.T, b *box.Box) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute) // the test is over
	defer cancel()
	for _, args := range [][]string{
		{"rochdale", "status"},
		{"systemctl", "list-units", "--no-pager", "--plain", "rochdale*", "docker*"},
		{"journalctl", "--no-pager", "-n", "60", "-u", "rochdale", "-u", "docker"},
		{"journalctl", "--no-pager", "-n", "15", "-u", "rochdale-edge"},
		{"journalctl", "--no-pager", "-n", "30", "-u", "rochdale-guard", "-u", "rochdale-self-update", "-u", "rochdale-self-look"},
	} {
		r, err := b.Exec(ctx, testhost.Command{Args: args})
		t.Logf("%v (code %d, %v)\n%s%s", args, r.Code, err, r.Stdout, r.Stderr)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
