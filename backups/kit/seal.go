// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"rochdale/backups"
)

// MaxSealed bounds a sealed kit, in bytes.
const MaxSealed = maxContent + 64<<10

// Seal gives the kit as an age file for the recipient ("age1…"). Two files of
// one kit differ.
func Seal(k Kit, recipient string) ([]byte, error) {
	to, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		return nil, notMade(fmt.Errorf("the recipient: %w", err))
	}
	content, err := k.Encode()
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to)
	if err != nil {
		return nil, notMade(err)
	}
	if _, err := w.Write(content); err != nil {
		return nil, notMade(err)
	}
	if err := w.Close(); err != nil {
		return nil, notMade(err)
	}
	return file.Bytes(), nil
}

// Head begins every sealed kit, as it begins every file of age's.
const Head = "age-encryption.org/v1\n"

// Sealed refuses what does not begin as a sealed kit. No page is needed to tell.
func Sealed(begin []byte) error {
	if !bytes.HasPrefix(begin, []byte(Head)) {
		return notAKit(errors.New("it does not begin as one"))
	}
	return nil
}

// Open reads a sealed kit with the secret that the pages give.
func Open(file []byte, s Secret) (Kit, error) {
	if len(file) > MaxSealed {
		return Kit{}, notAKit(fmt.Errorf("it has %d bytes", len(file)))
	}
	identity, err := s.identity()
	if err != nil {
		return Kit{}, err
	}
	r, err := age.Decrypt(bytes.NewReader(file), identity)
	var stranger *age.NoIdentityMatchError
	switch {
	case errors.As(err, &stranger):
		return Kit{}, &backups.Problem{ID: "kit.other-pages", Err: err}
	case err != nil:
		return Kit{}, notAKit(err)
	}
	content, err := io.ReadAll(io.LimitReader(r, maxContent+1))
	if err != nil {
		return Kit{}, damaged(err)
	}
	return Decode(content)
}

func notAKit(cause error) error { return &backups.Problem{ID: "kit.not-a-kit", Err: cause} }
