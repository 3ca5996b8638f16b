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

// Load implements [appliance.Loader]. The engine's two stores number the same
// archive differently: the older one by its config, the one that keeps contents
// by its manifest. Both digests are the release's, so either is the image and
// nothing else is; no name in the engine is believed, only looked under.
func (e *Engine) Load(ctx context.Context, img appliance.Image) (string, error) {
	if len(img.DiffIDs) == 0 || img.ConfigDigest == "" || img.ManifestDigest == "" {
		return "", fmt.Errorf("load image %s: its digests are not known", img.Name)
	}
	ref := imageRef(img)
	var id string
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) (err error) {
		id, err = same(ctx, c, ref, img)
		return err
	})
	if err == nil || !notThere(err) && !appliance.IsProblem(err, "engine.image-differs") {
		return id, err
	}
	err = e.call(ctx, loadLimit, func(ctx context.Context, c *client.Client) (err error) {
		id, err = load(ctx, c, ref, img)
		return err
	})
	return id, err
}

// load sends the archive, compares what it became and gives it our name, under
// which a clean-up finds it.
func load(ctx context.Context, c *client.Client, ref string, img appliance.Image) (string, error) {
	names, err := send(ctx, c, img)
	if err != nil {
		return "", err
	}
	for _, id := range []string{img.ConfigDigest, img.ManifestDigest} {
		found, err := same(ctx, c, id, img)
		if notThere(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		return found, errors.Join(c.ImageTag(ctx, found, ref), forget(ctx, c, names, found))
	}
	return "", errors.Join(appliance.Problem("engine.image-differs", nil, "name", img.Name), forget(ctx, c, names, ""))
}

// forget removes what an archive brought along beside the image: its names, and
// images that have none.
func forget(ctx context.Context, c *client.Client, names []string, keep string) (err error) {
	for _, name := range names {
		if strings.HasPrefix(name, "sha256:") {
			have, inspected := c.ImageInspect(ctx, name)
			if inspected != nil || have.ID == keep || len(have.RepoTags) > 0 {
				continue
			}
		}
		_, removed := c.ImageRemove(ctx, name, image.RemoveOptions{})
		if !errdefs.IsNotFound(removed) && !errdefs.IsConflict(removed) {
			err = errors.Join(err, removed)
		}
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

// same gives the engine's id of what it has under a name or an id, if that is
// the image.
func same(ctx context.Context, c *client.Client, name string, img appliance.Image) (string, error) {
	have, err := c.ImageInspect(ctx, name)
	if err != nil {
		return "", err
	}
	known := have.ID == img.ConfigDigest || have.ID == img.ManifestDigest
	if !known || !slices.Equal(have.RootFS.Layers, img.DiffIDs) {
		return "", appliance.Problem("engine.image-differs", nil, "name", img.Name)
	}
	return have.ID, nil
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
