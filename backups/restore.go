// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Restore takes a snapshot, or a part of it, out to a folder. It reads nothing
// from the cache: what it gives is in the repository. When the error is
// backups.restore-incomplete, the rest lies in the target.
func (d *Door) Restore(ctx context.Context, r Repository, what Restore) (Restored, error) {
	if err := what.validate(); err != nil {
		return Restored{}, r.failed(err)
	}
	c := d.briskly(r, what.args()...)
	c.Args = slices.Insert(slices.DeleteFunc(c.Args, ofCache), 0, "--no-cache")
	start := time.Now()
	o, err := d.runCall(ctx, r, c)
	if err != nil {
		return Restored{}, r.explainRestore(what, o, err)
	}
	var s struct {
		Files int64 `json:"files_restored"`
		Bytes int64 `json:"bytes_restored"`
	}
	if err := json.Unmarshal(o.summary, &s); err != nil {
		return Restored{}, r.unclear(err)
	}
	return Restored{Files: s.Files, Bytes: s.Bytes, Duration: time.Since(start)}, nil
}

func ofCache(arg string) bool {
	return arg == "--no-cache" || arg == "--cleanup-cache" || strings.HasPrefix(arg, "--cache-dir=")
}

var snapshotForm = regexp.MustCompile(`^[0-9a-f]{8,64}$`)

func (w Restore) validate() error {
	switch {
	case !snapshotForm.MatchString(w.Snapshot):
		return fmt.Errorf("%q is no id of a snapshot", w.Snapshot)
	case !isClean(w.Target) || w.Target == "/":
		return fmt.Errorf("%q is no absolute path", w.Target)
	default:
		return nil
	}
}

func (w Restore) args() []string {
	args := []string{"restore", "--target=" + w.Target}
	for _, p := range w.Include {
		args = append(args, "--include="+p)
	}
	return append(args, "--", w.Snapshot)
}

// explainRestore tells the disk that is written to from the repository that is
// read.
func (r Repository) explainRestore(w Restore, o output, err error) error {
	var files []string
	for _, e := range o.errors {
		if strings.Contains(e.message, "no space left on device") || strings.Contains(e.message, "disk quota exceeded") {
			return r.problem("backups.target-full", o.cause(), "target", w.Target)
		}
		files = append(files, e.item)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	switch {
	case o.Code != codeFailed:
		return err
	case len(files) > 0 && len(o.summary) > 0:
		return r.problem("backups.restore-incomplete", errors.Join(o.cause(), errors.New(short(o.errorText(), 1000))),
			"snapshot", w.Snapshot[:8], "count", strconv.Itoa(len(files)), "files", few(files))
	case isProblem(err, "backups.failed") && hasAny(o.exit, []string{"failed to find snapshot", ": not found"}):
		return r.problem("backups.not-in-snapshot", o.cause(), "snapshot", w.Snapshot[:8])
	default:
		return err
	}
}
