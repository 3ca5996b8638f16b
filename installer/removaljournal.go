// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/oklog/ulid/v2"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// RemovalJournal keeps the events of an uninstall beside the data, because the
// box's own state may be among what is removed. The file goes when the uninstall has succeeded.
type RemovalJournal struct {
	path  string
	files host.Files
}

var _ step.Journal = RemovalJournal{}

// NewRemovalJournal is the journal of this machine's uninstall.
func NewRemovalJournal(d Deps) RemovalJournal {
	return RemovalJournal{path: removalPath(d), files: d.Files}
}

func removalPath(d Deps) string { return d.at("var/lib/rochdale-uninstall.jsonl") }

// Open implements [step.Journal].
func (j RemovalJournal) Open(_ context.Context, plan, key string, _ time.Time) (string, bool, error) {
	data, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("read the journal of the removal: %w", err)
	}
	job, resumed := "", false
	for line := range bytes.Lines(data) {
		var e step.Event
		if json.Unmarshal(line, &e) == nil && e.Plan == plan {
			job, resumed = e.Job, true
		}
		if e.Kind == step.Ended {
			job, resumed = "", false
		}
	}
	if job == "" {
		job = ulid.Make().String()
	}
	return job, resumed, nil
}

// Record implements [step.Journal].
func (j RemovalJournal) Record(_ context.Context, e step.Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the journal of the removal: %w", err)
	}
	return j.files.Write(j.path, append(append(data, line...), '\n'), host.Attr{Mode: privateFile, UID: os.Geteuid(), GID: os.Getegid()})
}

// Close implements [step.Journal].
func (j RemovalJournal) Close(_ context.Context, _ string, outcome step.Outcome, _ time.Time) error {
	if outcome != step.Succeeded {
		return nil
	}
	return j.files.Remove(j.path)
}
