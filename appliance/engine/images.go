// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"rochdale/appliance"
)

const (
	maxImage  = 4 << 30 // bytes of one image's archive
	maxAnswer = 1 << 20 // bytes of what the engine says about a load
)

// Load implements [appliance.Loader]. The engine's own image id is no identity:
// its two stores number the same archive differently. The ids of the layers
// are, and they are compared whether the image was there or was loaded now.
func (e *Engine) Load(ctx context.Context, img appliance.Image) (string, error) {
	if len(img.DiffIDs) == 0 {
		return "", fmt.Errorf("load image %s: its layers are not known", img.Name)
	}
	ref := imageRef(img)
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) error { return same(ctx, c, ref, img) })
	if err == nil {
		return ref, nil
	}
	if !notThere(err) && !appliance.IsProblem(err, "engine.image-differs") {
		return "", err
	}
	err = e.call(ctx, loadLimit, func(ctx context.Context, c *client.Client) error { return load(ctx, c, ref, img) })
	if err != nil {
		return "", err
	}
	return ref, nil
}

// load sends the archive, finds what it became, compares it and gives it our name.
func load(ctx context.Context, c *client.Client, ref string, img appliance.Image) error {
	names, err := send(ctx, c, img)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err = same(ctx, c, name, img); err == nil {
			return errors.Join(c.ImageTag(ctx, name, ref), untag(ctx, c, name, ref), same(ctx, c, ref, img))
		}
	}
	for _, name := range names {
		err = errors.Join(err, untag(ctx, c, name, ref))
	}
	if err == nil {
		err = appliance.Problem("engine.image-differs", nil, "name", img.Name)
	}
	return err
}

// untag removes the name that the archive brought along; only ours stays.
func untag(ctx context.Context, c *client.Client, name, ref string) error {
	if name == ref || strings.HasPrefix(name, "sha256:") {
		return nil
	}
	_, err := c.ImageRemove(ctx, name, image.RemoveOptions{})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return err
}

// send streams the archive to the engine and gives the names or ids that it
// says it loaded.
func send(ctx context.Context, c *client.Client, img appliance.Image) ([]string, error) {
	archive, err := img.Open()
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", img.Name, err)
	}
	defer archive.Close()
	body := &boundedReader{from: archive, left: maxImage}
	resp, err := c.ImageLoad(ctx, body, client.ImageLoadWithQuiet(true))
	if body.err != nil { // the archive's fault, not the engine's
		return nil, appliance.Problem("engine.image-unreadable", body.err, "name", img.Name)
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return loadedNames(io.LimitReader(resp.Body, maxAnswer))
}

func loadedNames(r io.Reader) ([]string, error) {
	var names []string
	for d := json.NewDecoder(r); ; {
		var line struct{ Stream, Error string }
		err := d.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return names, nil
		case err != nil:
			return nil, fmt.Errorf("read what became of the image: %w", err)
		case line.Error != "":
			return nil, errors.New(line.Error)
		}
		for text := range strings.Lines(line.Stream) {
			_, name, ok := strings.Cut(strings.TrimSpace(text), ": ")
			if ok && strings.HasPrefix(text, "Loaded image") {
				names = append(names, name)
			}
		}
	}
}

// same compares the layers of what the engine has under a name with the lock.
func same(ctx context.Context, c *client.Client, name string, img appliance.Image) error {
	have, err := c.ImageInspect(ctx, name)
	if err != nil {
		return err
	}
	if !slices.Equal(have.RootFS.Layers, img.DiffIDs) {
		return appliance.Problem("engine.image-differs", nil, "name", img.Name)
	}
	return nil
}

// boundedReader remembers why reading failed: the SDK takes any failure of a
// request's body for a broken connection.
type boundedReader struct {
	from io.Reader
	left int64
	err  error
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.left < 0 {
		err = fmt.Errorf("it is larger than %d bytes", int64(maxImage))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
