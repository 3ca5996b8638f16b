// SPDX-License-Identifier: AGPL-3.0-or-later

// Package password hides argon2id behind the platform's Hasher: it bounds how
// many hashes run at once, since each takes 19 MiB on purpose.
//
// It may import the platform's root and golang.org/x/crypto. It must never log
// or keep a password.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"rochdale/stacks/coop"
)

// Parameters of argon2id as OWASP's password storage cheat sheet gives them for
// machines with little memory: 19 MiB, 2 passes, 1 lane.
const (
	memoryKiB = 19 * 1024
	passes    = 2
	lanes     = 1
	keyBytes  = 32
	saltBytes = 16
	prefix    = "$argon2id$v=19$m=19456,t=2,p=1$"
)

// atOnce hashes take 38 MiB; the container has 128.
const atOnce = 2

// waiting is how many callers wait for room; whoever comes then is told at once.
const waiting = 32

// patience is how long one caller waits for room.
const patience = 8 * time.Second

// Hasher hashes passwords, at most two at a time in one process.
type Hasher struct {
	room chan struct{}
	line chan struct{} // who computes or waits
	// decoy is compared with when there's no such account, so that the answer
	// takes as long as for one that exists.
	decoy string
}

var _ coop.Hasher = (*Hasher)(nil)

// New returns a Hasher.
func New() *Hasher {
	empty := strings.Repeat("\x00", saltBytes)
	return &Hasher{
		room:  make(chan struct{}, atOnce),
		line:  make(chan struct{}, atOnce+waiting),
		decoy: encode([]byte(empty), make([]byte, keyBytes)),
	}
}

// Hash returns the encoded hash of a password with a new salt.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	key, err := h.derive(ctx, password, salt)
	if err != nil {
		return "", err
	}
	return encode(salt, key), nil
}

// Matches reports whether encoded is the hash of password. An empty encoded
// hash never matches, but takes as long.
func (h *Hasher) Matches(ctx context.Context, password, encoded string) (bool, error) {
	known := encoded != ""
	if !known {
		encoded = h.decoy
	}
	salt, want, err := decode(encoded)
	if err != nil {
		return false, err
	}
	key, err := h.derive(ctx, password, salt)
	return known && subtle.ConstantTimeCompare(key, want) == 1, err
}

func (h *Hasher) derive(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case h.line <- struct{}{}:
		defer func() { <-h.line }()
	default:
		return nil, &coop.Problem{Kind: coop.Busy, Key: "busy"}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case h.room <- struct{}{}:
		defer h.leave()
		return argon2.IDKey([]byte(password), salt, passes, memoryKiB, lanes, keyBytes), nil
	case <-ctx.Done():
		return nil, &coop.Problem{Kind: coop.Busy, Key: "busy"}
	}
}

// leave gives the 19 MiB back to the machine at once: the collector would let
// several of them pile up first, and the container is small.
func (h *Hasher) leave() {
	debug.FreeOSMemory()
	<-h.room
}

func encode(salt, key []byte) string {
	e := base64.RawStdEncoding
	return prefix + e.EncodeToString(salt) + "$" + e.EncodeToString(key)
}

func decode(s string) (salt, key []byte, err error) {
	rest, ok := strings.CutPrefix(s, prefix)
	a, b, cut := strings.Cut(rest, "$")
	if !ok || !cut {
		return nil, nil, fmt.Errorf("password: a stored hash has an unknown form")
	}
	e := base64.RawStdEncoding
	if salt, err = e.DecodeString(a); err != nil {
		return nil, nil, err
	}
	key, err = e.DecodeString(b)
	return salt, key, err
}
