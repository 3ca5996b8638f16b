// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/stacks/coop/walk"
)

// bundleIn is where a new release lies on the box.
const bundleIn = "/root/next.bundle"

// updateAnswer is what `rochdale update apply --json` ends with.
type updateAnswer struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	HeldNS  int64  `json:"held_ns"`
	Reason  struct {
		ID string `json:"id"`
	} `json:"reason"`
	Problems []struct {
		ID string `json:"id"`
	} `json:"problems"`
}

// TestUpdates takes the stack from release to release under load, good ones and
// ones that fail in every way, and counts: no request fails, no acknowledged write
// is lost, and nothing is ever half. `make torture` does a hundred good ones and
// thirty that fail.
func TestUpdates(t *testing.T) {
	b := boot(t, box.Options{})
	ctx := within(t, 3*time.Hour)
	done, err := b.Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	o := walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(done.AdminLink), Unique: "first"}
	receipt, err := walk.Order(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	u := &updates{t: t, b: b, releases: newReleases(t), receipt: receipt, o: o, runs: 1}
	good := 2
	if torture() {
		good, u.runs = 100, 3
	}
	u.begin(ctx)
	for i := range good {
		u.good(i)
	}
	for range u.runs {
		for _, f := range u.failures() {
			u.fails(f)
		}
	}
	u.postponed()
	u.stones()
	u.end(ctx)
	u.back()
	healthy(t, b)
}

// updates is a box under load whose stack is updated.
type updates struct {
	t        *testing.T
	b        *box.Box
	releases *releases
	receipt  walk.Receipt
	o        walk.Options
	runs     int
	load     *box.Load
	scribe   *walk.Scribe
	stop     context.CancelFunc
	writer   sync.WaitGroup
	wrote    error
	held     []time.Duration
}

// begin starts the load and the writer.
func (u *updates) begin(ctx context.Context) {
	u.t.Helper()
	o := u.o
	o.JoinPath, o.Admin, o.Unique = "", u.receipt.Admin, "scribe"
	var err error
	if u.scribe, err = walk.NewScribe(ctx, o); err != nil {
		u.t.Fatal(err)
	}
	u.load = visitors(u.b)
	u.load.Start(u.t.Context())
	writing, stop := context.WithCancel(ctx)
	u.stop = stop
	u.writer.Go(func() {
		for writing.Err() == nil && u.wrote == nil {
			u.wrote = u.scribe.Write(context.WithoutCancel(writing))
			time.Sleep(200 * time.Millisecond)
		}
	})
}

// visitors are twelve who read the platform's pages without a rest.
func visitors(b *box.Box) *box.Load {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.CA.IssuerRootPEM())
	return &box.Load{Hosts: []string{b.Domain}, Address: b.IP.String() + ":443", TLS: &tls.Config{RootCAs: pool}, Workers: 12}
}

// end stops both, and looks for what was lost.
func (u *updates) end(ctx context.Context) {
	u.t.Helper()
	u.stop()
	u.writer.Wait()
	counts := u.load.Stop()
	if u.wrote != nil {
		u.t.Errorf("a write failed: %v", u.wrote)
	}
	if err := u.scribe.Check(ctx); err != nil {
		u.t.Error(err)
	}
	if err := walk.Verify(ctx, u.o, u.receipt); err != nil {
		u.t.Error(err)
	}
	slices.Sort(u.held)
	u.t.Logf("%d changes: %s; %d writes acknowledged, all there", len(u.held), counts, u.scribe.Acknowledged())
	if n := len(u.held); n > 0 {
		u.t.Logf("visitors waited: median %v, longest %v", u.held[n/2].Round(time.Millisecond), u.held[n-1].Round(time.Millisecond))
	}
	if counts.Failed > 0 || counts.Requests < 100 {
		u.t.Errorf("%s", counts)
	}
}

// apply runs the command by hand, as a person would.
func (u *updates) apply(file string, more ...string) (updateAnswer, int) {
	u.t.Helper()
	ctx := within(u.t, 5*time.Minute)
	if err := u.b.CopyIn(ctx, file, bundleIn, 0o644); err != nil {
		u.t.Fatal(err)
	}
	return u.run(append([]string{"rochdale", "update", "apply", "--json", "--from", bundleIn}, more...)...)
}

func (u *updates) run(args ...string) (last updateAnswer, code int) {
	u.t.Helper()
	r, err := u.b.Exec(u.t.Context(), testhost.Command{Args: args})
	if err != nil {
		u.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		u.t.Fatalf("%v: code %d, %v\n%s\n%s", args, r.Code, err, r.Stdout, r.Stderr)
	}
	if last.HeldNS > 0 {
		u.held = append(u.held, time.Duration(last.HeldNS))
	}
	return last, r.Code
}

// tries is how often a release is offered to a machine that is too busy for the
// time in which visitors may wait: then nothing is learned of the release.
const tries = 3

// offer applies a release, and one more like it when the machine was too busy.
func (u *updates) offer(f failing) (got updateAnswer, code int, version string) {
	u.t.Helper()
	for n := 1; ; n++ {
		var file string
		file, version = u.releases.next(f.release)
		undo := func() {}
		if f.spoil != nil {
			undo = f.spoil()
		}
		got, code = u.apply(file)
		undo()
		if n == tries || !got.tooBusy() || f.reason == overBudget {
			return got, code, version
		}
		u.t.Logf("%s: the machine was too busy", version)
	}
}

const overBudget = "update.over-budget"

// reasons are the ids of an error and of what it consists of.
func (a updateAnswer) reasons() []string {
	all := []string{a.ID}
	for _, p := range a.Problems {
		all = append(all, p.ID)
	}
	return all
}

func (a updateAnswer) tooBusy() bool { return slices.Contains(a.reasons(), overBudget) }

func (u *updates) good(i int) {
	u.t.Helper()
	next := release{migration: fmt.Sprintf("create table next_%d (x integer);", i)}
	got, code, version := u.offer(failing{release: next})
	if code != 0 || got.Outcome != "committed" {
		u.t.Fatalf("update to %s: code %d, %+v", version, code, got)
	}
	u.releases.took(next)
	u.nowRuns(version)
}

// nowRuns wants the box to say that exactly this version runs.
func (u *updates) nowRuns(version string) {
	u.t.Helper()
	s, err := u.b.Status(u.t.Context())
	if err != nil || len(s.Stacks) != 1 || s.Stacks[0].Version != version {
		u.t.Errorf("%s should run: %+v, %v", version, s.Stacks, err)
	}
}

// failing is a release that can not be taken, and the reason that is told.
type failing struct {
	name    string
	release release
	reason  string
	spoil   func() (undo func())
}

func (u *updates) failures() []failing {
	return []failing{
		{name: "image missing", release: release{arch: otherArch()}, reason: "stack.bundle.arch"},
		{name: "never healthy", release: release{replace: map[string]string{"health: /healthz": "health: /no-such-page"}}, reason: overBudget},
		{name: "crash loop", release: release{replace: map[string]string{"    image: coop": "    image: coop\n    command: [no-such-verb]"}}, reason: "engine.ended"},
		{name: "probe fails", release: release{replace: map[string]string{"path: /shops,": "path: /no-such-page,"}}, reason: "update.probe"},
		{name: "migration fails half-way", release: release{migration: "create table half (x integer);\ninsert into no_such_table values (1);"}, reason: "migrate.failed"},
		{name: "rows lost", release: release{migration: "delete from postings where id = (select max(id) from postings);"}, reason: "update.fact"},
		{name: "no room", release: release{}, reason: "update.no-room", spoil: u.fillDisk},
	}
}

// fails wants a release to be put back: the same version, the same data, no
// request dropped.
func (u *updates) fails(f failing) {
	u.t.Helper()
	before, err := u.b.Status(u.t.Context())
	if err != nil {
		u.t.Fatal(err)
	}
	got, code, version := u.offer(f)
	if code == 0 || got.Type != "error" {
		u.t.Errorf("%s (%s): code %d, %+v", f.name, version, code, got)
	}
	reasons := got.reasons()
	if !slices.Contains(reasons, f.reason) {
		u.t.Errorf("%s: the reasons told are %v, not %s", f.name, reasons, f.reason)
	}
	u.t.Logf("%s: put back, told as %v", f.name, reasons)
	u.nowRuns(before.Stacks[0].Version)
	if err := walk.Verify(u.t.Context(), u.o, u.receipt); err != nil {
		u.t.Errorf("%s: %v", f.name, err)
	}
	u.oneGeneration(f.name)
}

// oneGeneration wants nothing to be left of the attempt: containers and data.
func (u *updates) oneGeneration(name string) {
	u.t.Helper()
	out, err := u.b.Output(u.t.Context(), "docker", "ps", "-a", "-q", "--filter", "label=coop.rochdale.stack=delivery")
	if n := len(strings.Fields(out)); err != nil || n != 1 {
		u.t.Errorf("%s: %d containers are there, %v", name, n, err)
	}
}

// fillDisk gives the data a file that takes most of the free disk, so that there is
// no room for a second copy.
func (u *updates) fillDisk() (undo func()) {
	u.t.Helper()
	// What is mounted into the container that serves is the data that counts.
	id, err := u.b.Output(u.t.Context(), "docker", "ps", "--quiet", "--filter", "label=coop.rochdale.stack=delivery")
	if err != nil {
		u.t.Fatal(err)
	}
	dir, err := u.b.Output(u.t.Context(), "docker", "inspect", "--format", `{{range .Mounts}}{{if .RW}}{{.Source}}{{end}}{{end}}`, strings.TrimSpace(id))
	if err != nil || !strings.HasPrefix(dir, "/var/lib/rochdale/stacks/delivery/data/") {
		u.t.Fatalf("the data are in %q, %v", dir, err)
	}
	huge := strings.TrimSpace(dir) + "/huge"
	var disk syscall.Statfs_t
	if err := syscall.Statfs(testhost.CacheDir(), &disk); err != nil { // the machine's disk is that of the build machine
		u.t.Fatal(err)
	}
	most := int64(disk.Bavail) * disk.Bsize / 5 * 3
	if err := command(u.t, u.b, "fallocate", fmt.Sprintf("--length=%d", most), huge); err != nil {
		u.t.Fatal(err)
	}
	return func() {
		if err := command(u.t, u.b, "rm", huge); err != nil {
			u.t.Error(err)
		}
	}
}

// postponed holds a slow upload open: the update must leave it alone.
func (u *updates) postponed() {
	u.t.Helper()
	var up *upload
	hold := func() (undo func()) {
		var err error
		if up, err = u.slowUpload(); err != nil {
			u.t.Fatal(err)
		}
		return func() { up.failed = up.finish() }
	}
	got, code, version := u.offer(failing{spoil: hold})
	if code == 0 || got.ID != "update.postponed" {
		u.t.Errorf("an update while somebody uploads: code %d, %+v", code, got)
	}
	if up.failed != nil {
		u.t.Errorf("the upload was cut off: %v", up.failed)
	}
	// Nothing is wrong with the release: it may be taken afterwards.
	got, code = u.apply(u.releases.file(version))
	if got.tooBusy() {
		got, code, version = u.offer(failing{})
	}
	if code != 0 {
		u.t.Errorf("the same update afterwards: code %d, %+v", code, got)
	}
	u.nowRuns(version)
}

// stones takes a release that can be reached only through another: both lie in a
// folder.
func (u *updates) stones() {
	u.t.Helper()
	for n := 1; ; n++ {
		folder := fmt.Sprintf("/root/releases-%d", n)
		newest, version := u.stonePath(folder)
		if got, code := u.run("rochdale", "update", "apply", "--json", "--from", newest); code == 0 || got.ID != "update.path" {
			u.t.Errorf("past a stepping stone: code %d, %+v", code, got)
		}
		got, code := u.run("rochdale", "update", "apply", "--json", "--from", folder)
		if n < tries && got.tooBusy() {
			u.t.Logf("%s: the machine was too busy", version)
			continue
		}
		if code != 0 || got.Outcome != "committed" {
			u.t.Errorf("by a stepping stone: code %d, %+v", code, got)
		}
		u.nowRuns(version)
		return
	}
}

// stonePath puts two releases into a folder of the box, and gives the file and the
// version of the second one, which wants the first.
func (u *updates) stonePath(folder string) (newest, version string) {
	u.t.Helper()
	stone, passed := u.releases.next(release{})
	only := fmt.Sprintf("upgrade: {from: %q, steps: [%[1]q]}", "="+passed)
	last, version := u.releases.next(release{replace: map[string]string{`upgrade: {from: ">=0.1.0"}`: only}})
	for _, file := range []string{last, stone} {
		if err := u.b.CopyIn(u.t.Context(), file, folder+"/"+filepath.Base(file), 0o644); err != nil {
			u.t.Fatal(err)
		}
	}
	return folder + "/" + filepath.Base(last), version
}

// back returns to the release before.
func (u *updates) back() {
	u.t.Helper()
	var loss struct {
		To struct {
			Version string `json:"version"`
		} `json:"to"`
	}
	out, err := u.b.Output(u.t.Context(), "rochdale", "update", "rollback", "--plan", "--json")
	if err = errors.Join(err, json.Unmarshal([]byte(out), &loss)); err != nil {
		u.t.Fatal(err)
	}
	if got, code := u.run("rochdale", "update", "rollback", "--yes", "--json"); code != 0 || got.Outcome != "committed" {
		u.t.Errorf("a way back: code %d, %+v", code, got)
	}
	u.nowRuns(loss.To.Version)
}

// upload is a request whose body comes slowly.
type upload struct {
	conn   *tls.Conn
	failed error // why it was not answered as it should be
}

const uploadBody = "lang=fr&back=%2Fsign-in"

// slowUpload sends all of a request but the last bytes of its body.
func (u *updates) slowUpload() (*upload, error) {
	cfg := u.load.TLS.Clone()
	cfg.ServerName, cfg.NextProtos = u.b.Domain, []string{"http/1.1"}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(u.t.Context(), "tcp", u.load.Address)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "POST /language HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		u.b.Domain, len(uploadBody), uploadBody[:4])
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &upload{conn: conn.(*tls.Conn)}, nil
}

// finish sends the rest, and wants the answer.
func (x *upload) finish() error {
	defer x.conn.Close()
	if _, err := fmt.Fprint(x.conn, uploadBody[4:]); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(x.conn), nil)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusSeeOther {
		err = fmt.Errorf("answered %d", r.StatusCode)
	}
	return errors.Join(err, r.Body.Close())
}

// otherArch is one that the test machine does not have.
func otherArch() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}
