// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"rochdale/appliance"
)

// youngest is the age below which a container that never ran may still be on
// its way to be started.
const youngest = 10 * time.Minute

// Prune implements [appliance.Pruner]. Images that any container uses stay.
func (e *Engine) Prune(ctx context.Context, keep appliance.Keep) (appliance.Pruned, error) {
	var done appliance.Pruned
	found, err := e.summaries(ctx, "")
	if err != nil {
		return done, err
	}
	for _, s := range found {
		if !stale(s, keep) {
			continue
		}
		if err := e.Remove(ctx, s.ID); err != nil {
			return done, err
		}
		done.Containers = append(done.Containers, s.ID)
	}
	done.Images, err = e.pruneImages(ctx, keep)
	return done, err
}

func stale(s container.Summary, keep appliance.Keep) bool {
	switch s.State {
	case container.StateExited, container.StateDead:
		return !slices.Contains(keep.Containers, s.ID)
	case container.StateCreated:
		return !slices.Contains(keep.Containers, s.ID) && time.Since(time.Unix(s.Created, 0)) > youngest
	default:
		return false
	}
}

func (e *Engine) pruneImages(ctx context.Context, keep appliance.Keep) ([]string, error) {
	var gone []string
	err := e.call(ctx, slowLimit, func(ctx context.Context, c *client.Client) error {
		found, err := unused(ctx, c)
		if err != nil {
			return err
		}
		for _, i := range found {
			if slices.Contains(keep.Images, i.id) {
				continue
			}
			_, err := c.ImageRemove(ctx, i.name, image.RemoveOptions{PruneChildren: true})
			switch {
			case err == nil:
				gone = append(gone, i.id)
			case errdefs.IsConflict(err), errdefs.IsNotFound(err): // in use, or gone since
			default:
				return err
			}
		}
		return nil
	})
	return gone, err
}

// tagged is one name of one image.
type tagged struct{ id, name string }

// unused are our images that no container was made from, by their names. Newer
// engines would take the name of an image in use away.
func unused(ctx context.Context, c *client.Client) ([]tagged, error) {
	containers, err := c.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool, 2*len(containers))
	for _, s := range containers {
		used[s.Image], used[s.ImageID] = true, true
	}
	list, err := c.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", repository+"*"))})
	if err != nil {
		return nil, err
	}
	var refs []tagged
	for _, i := range list {
		for _, tag := range i.RepoTags {
			if strings.HasPrefix(tag, repository) && !used[tag] && !used[i.ID] {
				refs = append(refs, tagged{i.ID, tag})
			}
		}
	}
	return refs, nil
}
