// SPDX-License-Identifier: AGPL-3.0-or-later

package state_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/state"
	"rochdale/appliance/step"
)

func open(t *testing.T, path string) *state.DB {
	t.Helper()
	db, err := state.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.CloseFile() })
	return db
}

func release(n int64) appliance.Release {
	return appliance.Release{
		Stack: "delivery", Digest: fmt.Sprintf("sha256:%064d", n), Version: strconv.FormatInt(n, 10), Generation: n,
		Committed: time.UnixMilli(1_700_000_000_000 + n).UTC(), Settings: "s",
	}
}

func TestRowSaysWhatRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder", "state.db")
	db, ctx := open(t, path), t.Context()
	if _, ok, err := db.Release(ctx, "delivery"); ok || err != nil {
		t.Fatalf("empty state has a row: %v %v", ok, err)
	}
	for _, n := range []int64{1, 2} {
		if err := db.Commit(ctx, release(n)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := db.Releases(ctx)
	if err != nil || len(all) != 1 || all[0] != release(2) {
		t.Fatalf("got %+v, %v", all, err)
	}
	if err := db.Forget(ctx, "delivery"); err != nil {
		t.Fatal(err)
	}
	if n, err := db.ReserveGeneration(ctx, "delivery", "sha256:other", 0); n != 3 || err != nil {
		t.Fatalf("a forgotten stack's numbers are used again: %d, %v", n, err)
	}
	if err := db.Commit(ctx, appliance.Release{Stack: "delivery"}); err == nil {
		t.Fatal("an incomplete row was taken")
	}
}

func TestFilesAreForRootOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := open(t, path)
	if err := db.Commit(t.Context(), release(1)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{path, path + "-wal", path + "-shm", path + ".lock"} {
		info, err := os.Stat(f)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
	}
}

func TestReservedGeneration(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	reserve := func(digest string, floor, want int64) {
		t.Helper()
		if n, err := db.ReserveGeneration(ctx, "delivery", digest, floor); n != want || err != nil {
			t.Fatalf("got %d, %v, want %d", n, err, want)
		}
	}
	reserve("a", 0, 1)
	reserve("a", 0, 1)
	reserve("b", 0, 2)
	r := release(1)
	r.Digest = "a"
	if err := db.Commit(ctx, r); err != nil {
		t.Fatal(err)
	}
	reserve("a", 0, 3)
	reserve("c", 9, 10)
}

func TestCountersAndRuns(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	for i, atLeast := range []uint64{0, 0, 2, 9, 0} {
		want := []uint64{1, 2, 3, 9, 10}[i]
		if n, err := db.NextRoutesVersion(ctx, atLeast); n != want || err != nil {
			t.Fatalf("got %d, %v, want %d", n, err, want)
		}
	}
	if _, ok, err := db.LastRun(ctx, "prune"); ok || err != nil {
		t.Fatal(ok, err)
	}
	at := time.UnixMilli(1_700_000_000_123).UTC()
	if err := db.Ran(ctx, "prune", at); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := db.LastRun(ctx, "prune"); !ok || err != nil || !got.Equal(at) {
		t.Fatal(got, ok, err)
	}
}

func TestRequests(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	want := appliance.Request{Plan: "stack-start", Key: "delivery", Body: json.RawMessage(`{"a":1}`)}
	for range 2 {
		if err := db.KeepRequest(ctx, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Requests(ctx)
	if err != nil || len(got) != 1 || got[0].Plan != want.Plan || string(got[0].Body) != string(want.Body) {
		t.Fatalf("%+v %v", got, err)
	}
	for range 2 {
		if err := db.DropRequest(ctx, "stack-start", "delivery"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := db.Requests(ctx); err != nil || len(got) != 0 {
		t.Fatal(got, err)
	}
}

func TestJournalGoesOn(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	broken := errors.New("no network")
	runs := 0
	plan := step.Plan{Name: "install", Key: "", Steps: []step.Step{{ID: "one", Do: func(ctx context.Context, r step.Report) error {
		runs++
		r(strings.Repeat("x", 10_000))
		if runs == 1 {
			return broken
		}
		return nil
	}}}}
	interrupted, cancel := context.WithCancel(ctx)
	cancel()
	if err := plan.Run(interrupted, db, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var resumed []bool
	watch := func(e step.Event) { resumed = append(resumed, e.Resumed) }
	if err := plan.Run(ctx, db, watch); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := plan.Run(ctx, db, watch); err != nil {
		t.Fatal(err)
	}
	if !resumed[0] || resumed[len(resumed)-1] {
		t.Errorf("resumed: %v", resumed)
	}
	jobs, err := db.Jobs(ctx, 10)
	if err != nil || len(jobs) != 2 {
		t.Fatalf("%+v %v", jobs, err)
	}
	outcomes := []step.Outcome{jobs[0].Outcome, jobs[1].Outcome}
	if slices.Sort(outcomes); !slices.Equal(outcomes, []step.Outcome{step.Failed, step.Succeeded}) {
		t.Errorf("outcomes %v", outcomes)
	}
	checkEvents(t, db, jobs)
}

func checkEvents(t *testing.T, db *state.DB, jobs []appliance.Job) {
	t.Helper()
	for _, j := range jobs {
		events, err := db.Events(t.Context(), j.ID)
		if err != nil || events[len(events)-1].Kind != step.Ended {
			t.Fatalf("%+v %v", events, err)
		}
		for _, e := range events {
			if len(e.Note) > 5000 {
				t.Errorf("a note of %d bytes was kept", len(e.Note))
			}
			if err := db.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		again, err := db.Events(t.Context(), j.ID)
		if err != nil || len(again) != len(events) && len(events[1].Note) == 0 {
			t.Errorf("recording twice doubled events: %d, then %d, %v", len(events), len(again), err)
		}
	}
}

func TestJournalIsBounded(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	first, _, err := db.Open(ctx, "old", "left open", time.UnixMilli(1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range state.KeptJobs + 20 {
		at := time.UnixMilli(int64(1000 + i))
		job, _, err := db.Open(ctx, "p", "", at)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(ctx, job, step.Succeeded, at); err != nil {
			t.Fatal(err)
		}
	}
	jobs, err := db.Jobs(ctx, 10*state.KeptJobs)
	if err != nil || len(jobs) > state.KeptJobs+2 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	if jobs[len(jobs)-1].ID != first {
		t.Error("an unfinished job was forgotten")
	}
}

func TestSeveralOpenNewFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() { errs[i] = openAndCommit(path, int64(i+1)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func openAndCommit(path string, n int64) error {
	db, err := state.Open(context.Background(), path)
	if err != nil {
		return err
	}
	return errors.Join(db.Commit(context.Background(), release(n)), db.CloseFile())
}

func problem(t *testing.T, err error, id string, code int) {
	t.Helper()
	if !appliance.IsProblem(err, id) || appliance.ExitCode(err) != code {
		t.Fatalf("got %v (code %d), want %s (code %d)", err, appliance.ExitCode(err), id, code)
	}
}

func TestNewerSchemaIsRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := openAndCommit(path, 1); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	// A migration that only added something does not stop an older binary.
	for _, q := range []string{"insert into goose_db_version (version_id, is_applied) values (77, 1)", "alter table releases add column newer text"} {
		if _, err := raw.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := openAndCommit(path, 2); err != nil {
		t.Fatalf("an added column is refused: %v", err)
	}
	if _, err := raw.Exec("pragma user_version = 99"); err != nil {
		t.Fatal(err)
	}
	_ = raw.Close()
	_, err = state.Open(t.Context(), path)
	problem(t, err, "daemon.state-newer", appliance.ExitCheckFailed)
	_, err = state.OpenReadOnly(t.Context(), path)
	problem(t, err, "daemon.state-newer", appliance.ExitCheckFailed)
}

// TestKnownRepositories: what was kept last is all that is known, and a file from before
// there was any knows none.
func TestKnownRepositories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := openAndCommit(path, 1); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"drop table repositories", "delete from goose_db_version where version_id = 4"} {
		if _, err := raw.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	_ = raw.Close()
	db, ctx := open(t, path), t.Context()
	if none, err := db.KnownRepositories(ctx); err != nil || len(none) != 0 {
		t.Fatalf("%+v, %v", none, err)
	}
	since := time.UnixMilli(1_700_000_000_000).UTC()
	box := appliance.KnownRepository{Name: "box", URL: "/var/lib/rochdale/backup/repository", Since: since}
	second := appliance.KnownRepository{Name: "offsite", URL: "sftp:a@b:/c", Since: since.Add(time.Hour)}
	for _, want := range [][]appliance.KnownRepository{{box, second}, {second}} {
		if err := db.KeepRepositories(ctx, want); err != nil {
			t.Fatal(err)
		}
		if got, err := db.KnownRepositories(ctx); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func TestDamagedFileIsLeftAlone(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"not a database": func([]byte) []byte { return []byte(strings.Repeat("hello ", 2000)) },
		"torn pages": func(b []byte) []byte {
			for i := 4096; i < len(b); i++ {
				b[i] ^= 0x5a
			}
			return b
		},
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := openAndCommit(path, 1); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			broken := damage(data)
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = state.Open(t.Context(), path)
			problem(t, err, "daemon.state-damaged", appliance.ExitCheckFailed)
			if after, err := os.ReadFile(path); err != nil || string(after) != string(broken) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, err := state.OpenReadOnly(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	problem(t, err, "daemon.state-missing", appliance.ExitNotThere)
}

// names lists a folder with sizes left out: which files are there.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestReadOnlyMakesNoFile(t *testing.T) {
	src := filepath.Join(t.TempDir(), "state.db")
	db := open(t, src)
	if err := db.Commit(t.Context(), release(7)); err != nil {
		t.Fatal(err)
	}
	read := func(t *testing.T, path string, want int64) {
		t.Helper()
		before := names(t, filepath.Dir(path))
		ro, err := state.OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		r, ok, err := ro.Release(t.Context(), "delivery")
		if err != nil || !ok || r.Generation != want {
			t.Errorf("%+v %v %v", r, ok, err)
		}
		if err := ro.Commit(t.Context(), release(8)); err == nil {
			t.Error("a reader wrote")
		}
		if err := ro.CloseFile(); err != nil {
			t.Fatal(err)
		}
		if after := names(t, filepath.Dir(path)); !slices.Equal(before, after) {
			t.Errorf("files before %v, after %v", before, after)
		}
	}
	t.Run("while it is open elsewhere", func(t *testing.T) { read(t, src, 7) })
	t.Run("left by a kill", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		for _, suffix := range []string{"", "-wal", "-shm"} {
			copyFile(t, src+suffix, path+suffix)
		}
		read(t, path, 7)
	})
	t.Run("closed in order", func(t *testing.T) {
		if err := db.CloseFile(); err != nil {
			t.Fatal(err)
		}
		read(t, src, 7)
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKilledWriter kills a process that commits one row after another, and
// looks at what is there then: the last row it was told of, or the next one.
func TestKilledWriter(t *testing.T) {
	if path := os.Getenv("ROCHDALE_TEST_WRITER"); path != "" {
		writeUntilKilled(path)
		return
	}
	path := filepath.Join(t.TempDir(), "state.db")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	last := int64(0)
	for range 12 {
		last = killOnce(t, path, last, rng.IntN(40))
	}
	if last == 0 {
		t.Fatal("nothing was ever written")
	}
}

func killOnce(t *testing.T, path string, last int64, rows int) int64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), "ROCHDALE_TEST_WRITER="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range rows {
		if !lines.Scan() {
			break
		}
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Process.Kill()
	for lines.Scan() {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			break // torn by the kill
		}
	}
	_ = cmd.Wait()
	return checkRow(t, path, last)
}

func checkRow(t *testing.T, path string, last int64) int64 {
	t.Helper()
	db, err := state.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.CloseFile() }()
	r, ok, err := db.Release(t.Context(), "delivery")
	if err != nil {
		t.Fatal(err)
	}
	if !ok && last == 0 {
		return 0
	}
	if r.Generation != last && r.Generation != last+1 || r != release(r.Generation) {
		t.Fatalf("acknowledged %d, found %+v", last, r)
	}
	return r.Generation
}

func writeUntilKilled(path string) {
	ctx := context.Background()
	db, err := state.Open(ctx, path)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	r, _, err := db.Release(ctx, "delivery")
	for n := r.Generation + 1; err == nil; n++ {
		if err = db.Commit(ctx, release(n)); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Println("commit:", err)
}
