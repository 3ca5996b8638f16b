// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"crypto/ecdh"
	"math/big"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"pgregory.net/rapid"
)

func hand(t interface {
	Helper()
	Fatal(args ...any)
}, pages ...Page) *Hand {
	t.Helper()
	h := &Hand{}
	for _, p := range pages {
		if err := h.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// TestAnyEnoughPages: any k pages or more give the secret, fewer do not, for
// every k of every n that can be printed.
func TestAnyEnoughPages(t *testing.T) {
	for n := 1; n <= maxPages; n++ {
		for k := 1; k <= n; k++ {
			s, pages := split(t, k, n)
			for range 3 {
				some := chosen(pages)
				enough := hand(t, some[:k]...)
				got, err := enough.Secret()
				if err != nil || !got.scalar.IsEqual(s.scalar) || enough.Missing() != 0 {
					t.Fatalf("%d of %d: %v", k, n, err)
				}
				if all, err := hand(t, some...).Secret(); err != nil || !all.scalar.IsEqual(s.scalar) {
					t.Fatalf("all of %d: %v", n, err)
				}
				few := hand(t, some[:k-1]...)
				if _, err := few.Secret(); problemOf(err).ID != "kit.pages-too-few" || few.Missing() != 1 {
					t.Fatalf("%d less than %d of %d: %v", 1, k, n, err)
				}
			}
		}
	}
}

// chosen gives the pages in an order that differs from call to call.
func chosen(pages []Page) []Page {
	index := rapid.Permutation(slices.Clone(pages))
	return index.Example()
}

// TestFewerTellNothing: pages that claim that fewer are needed give another
// secret, and that is seen.
func TestFewerTellNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, maxPages).Draw(t, "n")
		k := rapid.IntRange(2, n).Draw(t, "k")
		_, pages := split(t, k, n)
		few := rapid.Permutation(pages).Draw(t, "pages")[:k-1]
		for i := range few {
			few[i].Need = k - 1
		}
		if _, err := hand(t, few...).Secret(); problemOf(err).ID != "kit.pages-wrong" {
			t.Fatalf("%d of the %d that are needed: %v", k-1, k, err)
		}
	})
}

// order is that of the field, little-endian.
func order(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 32)
	prime(t).FillBytes(b)
	slices.Reverse(b)
	return b
}

func prime(t *testing.T) *big.Int {
	t.Helper()
	p, ok := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	if !ok {
		t.Fatal("no number")
	}
	return p.Add(p, new(big.Int).Lsh(big.NewInt(1), 252))
}

func number(t *testing.T, s interface{ MarshalBinary() ([]byte, error) }) *big.Int {
	t.Helper()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

// TestByHand puts pages together with nothing but the words of the package
// comment: the secret is the value at 0 of the line through the shares.
func TestByHand(t *testing.T) {
	s, pages := split(t, 3, 5)
	p := prime(t)
	sum := new(big.Int)
	for _, at := range []int{0, 2, 4} {
		term := number(t, pages[at].value)
		for _, other := range []int{0, 2, 4} {
			if other == at {
				continue
			}
			over := big.NewInt(int64(pages[other].Index - pages[at].Index))
			term.Mul(term, big.NewInt(int64(pages[other].Index)))
			term.Mul(term, over.ModInverse(over.Mod(over, p), p))
		}
		sum.Mod(sum.Add(sum, term), p)
	}
	if sum.Cmp(number(t, s.scalar)) != 0 {
		t.Error("another secret")
	}
}

func TestPagesOfTwoPrintings(t *testing.T) {
	s, pages := split(t, 2, 3)
	again, err := s.Split(2, 3) // the same secret, split anew
	if err != nil {
		t.Fatal(err)
	}
	wider, err := s.Split(2, 4)
	if err != nil {
		t.Fatal(err)
	}
	wider[1].Set = pages[0].Set
	_, others := split(t, 2, 3)
	for name, page := range map[string]Page{"another secret": others[1], "split anew": again[1], "of more pages": wider[1]} {
		h := hand(t, pages[0])
		if p := problemOf(h.Add(page)); p.ID != "kit.pages-mixed" || p.Args["page"] != "2" || p.Args["first"] != "1" {
			t.Errorf("%s: %v", name, p)
		}
		if err := h.Add(pages[1]); err != nil || h.Missing() != 0 {
			t.Errorf("%s: a wrong page stands in the way: %v", name, err)
		}
	}
}

func TestPagesTwice(t *testing.T) {
	_, pages := split(t, 2, 3)
	h := hand(t, pages[2])
	if p := problemOf(h.Add(pages[2])); p.ID != "kit.pages-twice" || p.Args["page"] != "3" || h.Missing() != 1 {
		t.Errorf("got %v, missing %d", p, h.Missing())
	}
}

func TestSplitsThatCanNotBe(t *testing.T) {
	for _, c := range [][2]int{{0, 1}, {1, 0}, {-1, 3}, {4, 3}, {1, 17}, {17, 17}} {
		if _, err := NewSecret().Split(c[0], c[1]); problemOf(err).ID != "kit.split" {
			t.Errorf("%d of %d: %v", c[0], c[1], err)
		}
	}
	if _, err := (&Hand{}).Secret(); problemOf(err).ID != "kit.pages-too-few" {
		t.Errorf("no pages: %v", err)
	}
	if _, err := (Secret{}).Split(1, 1); err == nil {
		t.Error("nothing was split")
	}
}

// TestIdentity holds our words for a secret against age's, and the public half
// against the curve.
func TestIdentity(t *testing.T) {
	for range 50 {
		s := NewSecret()
		text, err := s.Identity()
		if err != nil {
			t.Fatal(err)
		}
		identity, err := age.ParseX25519Identity(text)
		if err != nil || identity.String() != text || !strings.HasPrefix(text, "AGE-SECRET-KEY-1") {
			t.Fatalf("%v", err)
		}
		raw, err := s.scalar.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		private, err := ecdh.X25519().NewPrivateKey(raw)
		if err != nil {
			t.Fatal(err)
		}
		recipient, err := s.Recipient()
		if want := bech32("age", private.PublicKey().Bytes()); err != nil || recipient != want {
			t.Fatalf("recipient %s, want %s, %v", recipient, want, err)
		}
	}
}

// TestBech32 are valid words of BIP 173 whose data part is whole bytes or empty.
func TestBech32(t *testing.T) {
	if got := bech32("a", nil); got != "a12uel5l" {
		t.Error(got)
	}
	raw := make([]byte, 0, 20)
	for i := range 20 {
		raw = append(raw, []byte{0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf, 0x84, 0x65, 0x3a, 0x56, 0xd7, 0xc6, 0x75, 0xbe, 0x77, 0xdf}[i])
	}
	if got := bech32("abcdef", raw); got != "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw" {
		t.Error(got)
	}
}
