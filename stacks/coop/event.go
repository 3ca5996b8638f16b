// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// Event is one line of the append-only log. Every change of state writes one in
// the same transaction. Each carries the hash of the one before, so a changed,
// removed or inserted line shows.
type Event struct {
	Seq      int64  // from 1, without gaps
	ID       string // ULID
	Subject  string // what it's about: "job/ID", "member/ID", …
	Kind     string // what happened: "job.accept", …
	ActorID  string // "" for the platform itself
	Device   string // which device reported it; "" for the web pages
	DeviceAt time.Time
	At       time.Time // when it was received
	Data     string    // JSON object
	Prev     string    // hash of the event before, "" for the first
	Hash     string
}

// Seal returns the event as the next one after prev, with its hash.
func (e Event) Seal(seq int64, prev string) Event {
	e.Seq, e.Prev = seq, prev
	e.Hash = e.digest()
	return e
}

// digest hashes every field with its length, so that no two different events
// have the same bytes.
func (e Event) digest() string {
	h := sha256.New()
	number := func(n int64) { _ = binary.Write(h, binary.BigEndian, n) }
	text := func(s string) {
		number(int64(len(s)))
		h.Write([]byte(s))
	}
	text("coop.event/1")
	number(e.Seq)
	for _, s := range []string{e.ID, e.Subject, e.Kind, e.ActorID, e.Device} {
		text(s)
	}
	number(Millis(e.DeviceAt))
	number(Millis(e.At))
	text(e.Data)
	text(e.Prev)
	return hex.EncodeToString(h.Sum(nil))
}

// Millis is t in Unix milliseconds, and 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// FromMillis is the inverse of Millis.
func FromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
