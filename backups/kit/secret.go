// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"

	"filippo.io/age"
	"github.com/cloudflare/circl/group"
)

// Secret opens the kits of one printing. It is on paper and, for moments, in
// memory; it prints as nothing.
type Secret struct{ scalar group.Scalar }

// NewSecret makes a secret. It is a number below the order of ristretto255, so
// that it can be split; as an X25519 secret it has 249 random bits.
func NewSecret() Secret {
	return Secret{group.Ristretto255.RandomNonZeroScalar(rand.Reader)}
}

// Recipient is the public half, which seals.
func (s Secret) Recipient() (string, error) {
	identity, err := s.identity()
	if err != nil {
		return "", err
	}
	return identity.Recipient().String(), nil
}

// Identity is the secret in age's words ("AGE-SECRET-KEY-1…"), with which the
// plain age program opens a kit as well.
func (s Secret) Identity() (string, error) {
	raw, err := s.scalar.MarshalBinary()
	if err != nil {
		return "", fmt.Errorf("the secret: %w", err)
	}
	return strings.ToUpper(bech32("age-secret-key-", raw)), nil
}

func (s Secret) identity() (*age.X25519Identity, error) {
	if s.scalar == nil {
		return nil, fmt.Errorf("the secret is empty")
	}
	text, err := s.Identity()
	if err != nil {
		return nil, err
	}
	return age.ParseX25519Identity(text)
}

// Format implements [fmt.Formatter]: the secret is never shown by mistake.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[secret]") }

// KeyID is a short name of a recipient, the same on all pages that open its
// kits.
func KeyID(recipient string) [4]byte {
	sum := sha256.Sum256([]byte("rochdale recovery key\n" + recipient))
	return [4]byte(sum[:4])
}

// bech32 writes bytes as BIP 173 says, without its bound for the length, as age
// does.
func bech32(prefix string, data []byte) string {
	const letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	values := fives(data)
	sum := bech32Sum(prefix, values)
	var b strings.Builder
	b.WriteString(prefix + "1")
	for _, v := range append(values, sum[:]...) {
		b.WriteByte(letters[v])
	}
	return b.String()
}

// fives parts bytes into groups of five bits, the last one filled with zeros.
func fives(data []byte) []byte {
	var out []byte
	acc, bits := uint(0), 0
	for _, b := range data {
		acc = acc<<8 | uint(b)
		for bits += 8; bits >= 5; bits -= 5 {
			out = append(out, byte(acc>>(bits-5)&31))
		}
	}
	if bits > 0 {
		out = append(out, byte(acc<<(5-bits)&31))
	}
	return out
}

func bech32Sum(prefix string, values []byte) (sum [6]byte) {
	var all []byte
	for _, c := range []byte(prefix) {
		all = append(all, c>>5)
	}
	all = append(all, 0)
	for _, c := range []byte(prefix) {
		all = append(all, c&31)
	}
	all = append(append(all, values...), sum[:]...)
	chk := uint32(1)
	for _, v := range all {
		top := chk >> 25
		chk = chk&0x1ffffff<<5 ^ uint32(v)
		for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				chk ^= g
			}
		}
	}
	chk ^= 1
	for i := range sum {
		sum[i] = byte(chk >> (5 * (5 - i)) & 31)
	}
	return sum
}
