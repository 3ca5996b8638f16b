// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"rochdale/stacks"
)

// Describe reads the stack of a bundle and its digest, and writes nothing. It
// reads no further than the images, which come last.
func Describe(ctx context.Context, r io.Reader) (stacks.Stack, string, error) {
	a, err := readArchive(r)
	if err != nil {
		return stacks.Stack{}, "", err
	}
	defer a.close()
	var small bytes.Buffer // the stack's files; the index bounds their sizes
	files := zip.NewWriter(&small)
	images := errors.New("the images begin")
	err = a.each(ctx, func(e entry, content io.Reader) error {
		if e.image() {
			return images
		}
		return addFile(files, strings.TrimPrefix(e.path, stackDir), content)
	})
	if err != nil && !errors.Is(err, images) {
		return stacks.Stack{}, "", err
	}
	if err := files.Close(); err != nil {
		return stacks.Stack{}, "", err
	}
	folder, err := zip.NewReader(bytes.NewReader(small.Bytes()), int64(small.Len()))
	if err != nil {
		return stacks.Stack{}, "", err
	}
	s, err := stacks.Parse(folder)
	return s, a.digest, err
}

func addFile(files *zip.Writer, name string, content io.Reader) error {
	file, err := files.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return err
}
