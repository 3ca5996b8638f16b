// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Incomplete is the one tag of a snapshot for which some of the sources could not be
// read: nobody who looks for another tag finds it, and it is there in need.
const Incomplete = "incomplete"

// Backup makes a snapshot. When some of the sources could not be read the error
// is backups.incomplete; the snapshot that there is nevertheless gets [Incomplete]
// in place of its tags, with which its id changes, and does not count as a backup. It
// is backups.not-set-aside when that could not be done.
func (d *Door) Backup(ctx context.Context, r Repository, b Backup) (Saved, error) {
	if err := b.validate(); err != nil {
		return Saved{}, r.failed(err)
	}
	o, err := d.runCall(ctx, r, d.briskly(r, b.args()...))
	saved, known := o.saved()
	switch {
	case o.Code == codeIncomplete, err != nil && known && len(o.unread()) > 0:
		// Also when this program was to end just then, or nobody saw the code.
		saved, err = d.setAside(ctx, r, saved)
		return saved, errors.Join(err, r.incomplete(o)) // one that passes for good is told of first
	case isProblem(err, "backups.interrupted"):
		return Saved{}, err
	case err != nil && strings.Contains(o.exit, "all source directories/files do not exist"):
		return Saved{}, r.problem("backups.nothing-to-save", o.cause(), "paths", few(b.Paths))
	case err != nil:
		return Saved{}, err
	case !known || saved.SnapshotID == "":
		return Saved{}, r.unclear(errors.New("no snapshot is named"))
	default:
		return saved, nil
	}
}

func (b Backup) args() []string {
	args := []string{"backup", "--no-scan"}
	if b.Host != "" {
		args = append(args, "--host="+b.Host)
	}
	if !b.Time.IsZero() {
		args = append(args, "--time="+b.Time.UTC().Format(time.DateTime))
	}
	if b.Force {
		args = append(args, "--force")
	}
	for _, t := range b.Tags {
		args = append(args, "--tag="+t)
	}
	for _, e := range b.Excludes {
		args = append(args, "--exclude="+e)
	}
	return append(append(args, "--"), b.Paths...)
}

// validate refuses what restic would take for something else. The words come
// from our own code, so the texts are for us.
func (b Backup) validate() error {
	for _, t := range b.Tags {
		if t == "" || strings.Contains(t, ",") || !printable(t) {
			return fmt.Errorf("%q is no tag", t)
		}
	}
	switch {
	case !printable(b.Host):
		return fmt.Errorf("%q is no name of a machine", b.Host)
	case len(b.Paths) == 0:
		return errors.New("no paths to save")
	}
	for _, p := range b.Paths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return fmt.Errorf("%q is no absolute path", p)
		}
	}
	return nil
}

func (o output) saved() (Saved, bool) {
	var s struct {
		SnapshotID string  `json:"snapshot_id"`
		New        int64   `json:"files_new"`
		Changed    int64   `json:"files_changed"`
		All        int64   `json:"total_files_processed"`
		Added      int64   `json:"data_added_packed"`
		Processed  int64   `json:"total_bytes_processed"`
		Seconds    float64 `json:"total_duration"`
	}
	if json.Unmarshal(o.summary, &s) != nil {
		return Saved{}, false
	}
	return Saved{
		SnapshotID: s.SnapshotID, FilesNew: s.New + s.Changed, FilesAll: s.All,
		BytesAdded: s.Added, BytesProcessed: s.Processed, Duration: seconds(s.Seconds),
	}, true
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// incomplete names the sources that could not be read.
func (r Repository) incomplete(o output) *Problem {
	sources := o.unread()
	return r.problem("backups.incomplete", o.cause(), "count", strconv.Itoa(len(sources)), "sources", few(sources))
}

// unread are the sources that could not be read.
func (o output) unread() (sources []string) {
	for _, e := range o.errors {
		sources = append(sources, e.item)
	}
	for _, line := range o.plain {
		if path, ok := strings.CutSuffix(line, " does not exist, skipping"); ok {
			sources = append(sources, path)
		}
	}
	slices.Sort(sources)
	return slices.Compact(sources)
}

const (
	// markWait is how long is waited for the lock to mark a snapshot: somebody else's
	// backup may hold it, and nothing else tells that the snapshot does not count.
	markWait = 10 * time.Minute
	// markAnyway is for marking it after this program was told to end.
	markAnyway = 30 * time.Second
)

// setAside marks a snapshot that does not count. restic adds a copy with the mark and
// removes the first one. Where it may not remove it that is enough: [Door.Snapshots] leaves
// out what has such a copy. restic ends well also when it could do neither.
func (d *Door) setAside(ctx context.Context, r Repository, s Saved) (Saved, error) {
	id := s.SnapshotID
	s.SnapshotID = ""
	if id == "" {
		return s, nil
	}
	ctx, cancel := lingering(ctx, markAnyway)
	defer cancel()
	patient := *d
	patient.Wait = cmp.Or(d.Wait, markWait)
	o, err := patient.run(ctx, r, "tag", "--set="+Incomplete, "--", id)
	if err == nil && o.changedTags() {
		return s, nil
	}
	list, unlisted := d.Snapshots(ctx, r)
	if unlisted == nil && !slices.ContainsFunc(list, func(s Snapshot) bool { return s.ID == id }) {
		return s, nil
	}
	return s, r.problem("backups.not-set-aside", errors.Join(err, o.cause(), unlisted),
		"snapshot", id[:min(8, len(id))], "command", d.byHand(r, "tag --set="+Incomplete+" "+id))
}

// lingering is a context that ends some time after ctx.
func lingering(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-longer.Done():
		case <-time.After(by):
			cancel()
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}

// changedTags tells whether restic changed the tags of a snapshot.
func (o output) changedTags() bool {
	var s struct {
		Changed int `json:"changed_snapshots"`
	}
	return json.Unmarshal(o.summary, &s) == nil && s.Changed > 0
}

func (o output) errorText() string {
	var b strings.Builder
	for _, e := range o.errors {
		b.WriteString(e.message + "\n")
	}
	return b.String()
}
