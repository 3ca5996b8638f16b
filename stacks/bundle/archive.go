// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// window is how far the compression looks back, and with that the memory that
// opening a bundle takes.
const window = 4 << 20

// archive reads a bundle from a stream, in order, believing nothing.
type archive struct {
	input  *bounded
	packed *zstd.Decoder
	tar    *tar.Reader
	index  index
	digest string
	text   []byte
	locks  lock
	locked []byte // images.lock as it is written
}

// readArchive reads INDEX and images.lock, and compares them. The caller closes
// the archive.
func readArchive(r io.Reader) (*archive, error) {
	input := &bounded{from: r, left: maxIndex + maxFile + slack}
	packed, err := zstd.NewReader(input, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(2*window))
	if err != nil {
		return nil, refuse("format", err, "reason", "compression")
	}
	a := &archive{input: input, packed: packed, tar: tar.NewReader(packed)}
	err = a.readIndex()
	if err == nil {
		err = a.readLock()
	}
	if err != nil {
		packed.Close()
		return nil, err
	}
	return a, nil
}

func (a *archive) close() { a.packed.Close() }

func (a *archive) readIndex() error {
	header, err := a.tar.Next()
	if err != nil {
		return refuse("format", err, "reason", "compression or archive")
	}
	if header.Name != indexName || header.Typeflag != tar.TypeReg || header.Size > maxIndex {
		return refuse("format", nil, "reason", "its first file is not an index")
	}
	a.text, err = io.ReadAll(a.tar)
	if err != nil {
		return refuse("cut", err, "path", indexName)
	}
	a.digest = digestOf(a.text)
	a.index, err = parseIndex(a.text)
	a.input.left += a.index.total()
	return err
}

// readLock reads images.lock, which is the first entry of every index.
func (a *archive) readLock() error {
	header, err := a.tar.Next()
	if err != nil {
		return refuse("cut", err, "path", lockName)
	}
	e := a.index[0]
	if header.Name != e.path || header.Typeflag != tar.TypeReg || header.Size != e.size {
		return refuse("extra", nil, "path", header.Name)
	}
	if a.locked, err = io.ReadAll(newVerifier(a.tar, e)); err != nil {
		return err
	}
	if a.locks, err = parseLock(a.locked); err != nil {
		return err
	}
	return a.locks.names(a.index)
}

// each gives every file behind images.lock to use, which must read it to its end
// to know that it is right. Files follow the index; only images may be left out.
func (a *archive) each(ctx context.Context, use func(e entry, content io.Reader) error) error {
	rest := a.index[1:]
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := a.tar.Next()
		if errors.Is(err, io.EOF) {
			return a.end(rest)
		}
		if err != nil {
			return refuse("cut", err, "path", next(rest))
		}
		for len(rest) > 0 && rest[0].path != header.Name && rest[0].image() {
			rest = rest[1:]
		}
		if len(rest) == 0 || header.Typeflag != tar.TypeReg || header.Name != rest[0].path || header.Size != rest[0].size {
			return refuse("extra", nil, "path", header.Name)
		}
		if err := use(rest[0], newVerifier(a.tar, rest[0])); err != nil {
			return err
		}
		rest = rest[1:]
	}
}

func next(rest index) string {
	if len(rest) == 0 {
		return "its end"
	}
	return rest[0].path
}

// end checks that nothing but images is missing and that nothing follows.
func (a *archive) end(rest index) error {
	if len(rest) > 0 && !rest[0].image() {
		return refuse("missing", nil, "path", rest[0].path)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(a.packed, 1))
	if err != nil {
		return refuse("cut", err, "path", "its end")
	}
	if n > 0 {
		return refuse("extra", nil, "path", "data after the end")
	}
	return nil
}

// verifier passes content on and turns its end into an error unless size and
// digest are those of the entry. It never passes on more than the entry's size.
type verifier struct {
	content io.Reader
	entry   entry
	hash    hash.Hash
	left    int64
	done    error
}

func newVerifier(content io.Reader, e entry) *verifier {
	return &verifier{content: content, entry: e, hash: sha256.New(), left: e.size}
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	if v.done != nil {
		return 0, v.done
	}
	if v.left == 0 {
		v.done = v.finish()
		return 0, v.done
	}
	n, err := v.content.Read(p[:min(int64(len(p)), v.left)])
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if err != nil && v.left > 0 {
		v.done = refuse("cut", err, "path", v.entry.path)
		return n, v.done
	}
	return n, nil
}

// finish compares at the end; one byte more than announced is a difference too.
func (v *verifier) finish() error {
	n, err := io.ReadFull(v.content, make([]byte, 1))
	switch {
	case n > 0 || [sha256.Size]byte(v.hash.Sum(nil)) != v.entry.sum:
		return refuse("digest", nil, "path", v.entry.path)
	case !errors.Is(err, io.EOF):
		return refuse("cut", err, "path", v.entry.path)
	}
	return io.EOF
}
