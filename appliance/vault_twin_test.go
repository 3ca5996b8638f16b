// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
)

// vaultTwin keeps snapshots in memory, by repository.
type vaultTwin struct {
	mu      sync.Mutex
	kept    map[string][]twinSnapshot // the newest first
	keys    map[string]twinKey        // by address
	down    map[string]error          // by repository
	takes   time.Duration             // for a backup
	lays    time.Duration             // for a restore
	stopped error                     // what a backup gives that is ended, if not why
	slowFor string                    // the only repository that takes long; empty: each
	asked   map[string]time.Duration  // how long a repository takes to say whether it is there
	downFor string                    // what alone fails; empty: everything
	told    []string
	bad     int64 // errors that the next checks find
	noFull  error // of each backup with the tag kind:full, if set
	// checking is called in the middle of each check, if set.
	checking func(repository string)
}

// twinKey is the password that a repository was made with.
type twinKey struct{ name, password string }

type twinSnapshot struct {
	backups.Snapshot
	files map[string][]byte
}

var _ appliance.Vault = (*vaultTwin)(nil)

func newVaultTwin() *vaultTwin {
	return &vaultTwin{kept: map[string][]twinSnapshot{}, keys: map[string]twinKey{}, down: map[string]error{}}
}

func (v *vaultTwin) begin(ctx context.Context, what string, r backups.Repository) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told = append(v.told, what+" "+r.Name)
	if v.downFor != "" && v.downFor != what {
		return ctx.Err()
	}
	return errors.Join(ctx.Err(), v.down[r.Name])
}

func (v *vaultTwin) Init(ctx context.Context, r backups.Repository) (string, error) {
	password, err := os.ReadFile(r.PasswordFile)
	if err != nil {
		return "", err
	}
	if err := v.begin(ctx, "init", r); err != nil {
		return "", err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.keys[r.URL]; !ok {
		v.keys[r.URL] = twinKey{r.Name, string(password)}
	}
	_, err = v.open(r)
	return "id-" + r.Name, err
}

// open tells whether a repository is there, and whether its password is the right one.
func (v *vaultTwin) open(r backups.Repository) (there bool, err error) {
	key, ok := v.keys[r.URL]
	if !ok {
		return false, nil
	}
	password, err := os.ReadFile(r.PasswordFile)
	if err == nil && string(password) != key.password {
		err = &backups.Problem{ID: "backups.no-key-fits", Args: map[string]string{"repository": r.Name, "file": r.PasswordFile}}
	}
	return true, err
}

func (v *vaultTwin) Identify(ctx context.Context, r backups.Repository) (string, error) {
	if err := v.begin(ctx, "identify", r); err != nil {
		return "", err
	}
	v.mu.Lock()
	patience := v.asked[r.Name]
	v.mu.Unlock()
	time.Sleep(patience)
	v.mu.Lock()
	defer v.mu.Unlock()
	there, err := v.open(r)
	if err != nil {
		return "", err
	}
	if !there && len(v.kept[r.Name]) == 0 {
		return "", &backups.Problem{ID: "backups.no-repository", Args: map[string]string{"repository": r.Name}}
	}
	return "id-" + r.Name, nil
}

// asksFor makes a repository take so long to say whether it is there.
func (v *vaultTwin) asksFor(repository string, takes time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = map[string]time.Duration{repository: takes}
}

// slow makes each backup that begins from now on take so long.
func (v *vaultTwin) slow(takes time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.takes = takes
}

func (v *vaultTwin) lasts(repository string) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.slowFor != "" && v.slowFor != repository {
		return 0
	}
	return v.takes
}

// fail makes every call for a repository fail, or with nil work again.
func (v *vaultTwin) fail(repository string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down[repository] = err
}

// lose takes all snapshots of a repository away.
func (v *vaultTwin) lose(repository string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.kept, repository)
	maps.DeleteFunc(v.keys, func(_ string, k twinKey) bool { return k.name == repository })
}

// count is how many snapshots a repository has.
func (v *vaultTwin) count(repository string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.kept[repository])
}

// snapshots are those of a repository, the newest first.
func (v *vaultTwin) snapshots(repository string) []twinSnapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.kept[repository])
}

func (v *vaultTwin) Backup(ctx context.Context, r backups.Repository, b backups.Backup) (backups.Saved, error) {
	if err := v.begin(ctx, "backup", r); err != nil {
		return backups.Saved{}, err
	}
	if err := v.failing(b.Tags); err != nil {
		return backups.Saved{}, err
	}
	select {
	case <-ctx.Done():
		return backups.Saved{}, cmp.Or(v.stopped, context.Cause(ctx))
	case <-time.After(v.lasts(r.Name)):
	}
	s := twinSnapshot{files: map[string][]byte{}}
	for _, path := range b.Paths {
		if err := s.add(path, b.Excludes); err != nil {
			return backups.Saved{}, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s.Snapshot = backups.Snapshot{ID: fmt.Sprintf("%064x", len(v.told)), Time: b.Time, Tags: b.Tags, Paths: b.Paths}
	v.kept[r.Name] = append([]twinSnapshot{s}, v.kept[r.Name]...)
	v.sort(r.Name)
	return backups.Saved{SnapshotID: s.ID, BytesAdded: int64(len(s.files))}, nil
}

// failFull makes each full backup fail that begins from now on, or with nil work again.
func (v *vaultTwin) failFull(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.noFull = err
}

func (v *vaultTwin) failing(tags []string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(tags, "kind:full") {
		return nil
	}
	return v.noFull
}

func (s *twinSnapshot) add(root string, excludes []string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || slices.Contains(excludes, path) {
			return err
		}
		s.files[path], err = os.ReadFile(path)
		return err
	})
}

func (v *vaultTwin) Snapshots(ctx context.Context, r backups.Repository, tags ...string) ([]backups.Snapshot, error) {
	if err := v.begin(ctx, "list", r); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []backups.Snapshot
	for _, s := range v.kept[r.Name] {
		if !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(s.Tags, tag) }) {
			found = append(found, s.Snapshot)
		}
	}
	return found, nil
}

func (v *vaultTwin) Restore(ctx context.Context, r backups.Repository, what backups.Restore) (backups.Restored, error) {
	if err := v.begin(ctx, "restore", r); err != nil {
		return backups.Restored{}, err
	}
	if v.lays > 0 {
		select {
		case <-ctx.Done():
			return backups.Restored{}, context.Cause(ctx)
		case <-time.After(v.lays):
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.kept[r.Name], func(s twinSnapshot) bool { return s.ID == what.Snapshot })
	if i < 0 {
		return backups.Restored{}, &backups.Problem{ID: "backups.failed", Args: map[string]string{"repository": r.Name}}
	}
	for path, content := range v.kept[r.Name][i].files {
		included := func(pattern string) bool {
			whole, err := filepath.Match(pattern, path)
			return err == nil && whole || strings.HasPrefix(path, pattern+"/")
		}
		if !slices.ContainsFunc(what.Include, included) {
			continue
		}
		to := filepath.Join(what.Target, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o600)); err != nil {
			return backups.Restored{}, err
		}
	}
	return backups.Restored{}, nil
}

func (v *vaultTwin) Forget(ctx context.Context, r backups.Repository, _ backups.Retention, tags ...string) (f backups.Forgotten, err error) {
	if err := v.begin(ctx, "forget "+strings.Join(tags, " "), r); err != nil {
		return f, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.kept[r.Name] {
		if backups.FromFuture(s.Time) && slices.Contains(s.Tags, tags[0]) {
			f.Ahead = &backups.Problem{ID: "backups.future-snapshot", Args: map[string]string{"repository": r.Name}}
		}
	}
	return f, nil
}

// sort puts the newest first, as restic's door does.
func (v *vaultTwin) sort(repository string) {
	slices.SortStableFunc(v.kept[repository], func(a, b twinSnapshot) int { return b.Time.Compare(a.Time) })
}

func (v *vaultTwin) Prune(ctx context.Context, r backups.Repository) error {
	return v.begin(ctx, "prune", r)
}

func (v *vaultTwin) Check(ctx context.Context, r backups.Repository, p backups.Part) (backups.CheckReport, error) {
	if err := v.begin(ctx, fmt.Sprintf("check %d/%d", p.N, p.T), r); err != nil {
		return backups.CheckReport{}, err
	}
	if v.checking != nil {
		v.checking(r.Name)
	}
	report := backups.CheckReport{Part: p, Errors: v.bad}
	if v.bad > 0 {
		return report, &backups.Problem{ID: "backups.repository-damaged"}
	}
	return report, nil
}

func (v *vaultTwin) Heal(ctx context.Context, r backups.Repository, _ backups.CheckReport, again func(context.Context) error) (backups.Healed, error) {
	if err := v.begin(ctx, "heal", r); err != nil {
		return backups.Healed{}, err
	}
	v.bad = 0
	return backups.Healed{}, again(ctx)
}

// heard is what was asked of repositories since mark.
func (v *vaultTwin) heard(mark int) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.told[mark:])
}
