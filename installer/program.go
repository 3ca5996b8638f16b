// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Program is the binary that is installed.
type Program struct {
	Digest string `json:"digest"` // SHA-256, in hex
	Size   int64  `json:"bytes"`
}

// maxProgram bounds what may be copied as our binary, in bytes.
const maxProgram = 1 << 30

// digestOf reads a file's SHA-256 and size.
func digestOf(path string) (digest string, size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h := sha256.New()
	size, err = io.Copy(h, io.LimitReader(file, maxProgram+1))
	if err != nil {
		return "", 0, err
	}
	if size > maxProgram {
		return "", 0, fmt.Errorf("%s is larger than %d bytes", path, maxProgram)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// digestParts is one digest over several pieces.
func digestParts(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
