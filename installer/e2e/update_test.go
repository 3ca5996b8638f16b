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
	"io"
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

// Why a change was left for another time.
const (
	overBudget = "update.over-budget" // visitors would have waited too long
	notUp      = "update.not-up"      // for a container that did not get ready
	postponed  = "update.postponed"   // they were busy
)

// reasons are the ids of an error and of what it consists of.
func (a updateAnswer) reasons() []string {
	all := []string{a.ID}
	for _, p := range a.Problems {
		all = append(all, p.ID)
	}
	return all
}

// tooBusy tells of an answer that may be the machine's and not the release's.
func (a updateAnswer) tooBusy() bool {
	return slices.ContainsFunc(a.reasons(), func(id string) bool { return id == overBudget || id == notUp || id == postponed })
}

// TestUpdates takes the stack from release to release under load, good ones and
// ones that fail in every way, and counts: no request fails, no acknowledged write
// is lost, and nothing is ever half. `make torture` does a hundred good ones and
// each of those that fail four times.
func TestUpdates(t *testing.T) {
	ctx := within(t, 3*time.Hour)
	u := newUpdates(t, ctx, box.Options{}, newReleases(t))
	good, failures := 2, u.failures()
	if torture() {
		good, failures = many, slices.Repeat(failures, manyTimes)
	}
	u.begin(ctx)
	u.each(good, failures)
	u.postponed(release{})
	u.stones()
	u.end(ctx)
	u.back()
	healthy(t, u.b)
}

// TestUpdatesPostgres does the same to the stack with its rows in a server, and
// saves, proves and restores them. A short run takes one good release and two that
// fail, by chance; `make torture` takes as many as [TestUpdates], and one that can
// be reached only through another. The last ones bring another server, which
// is a matter of a maintenance window.
func TestUpdatesPostgres(t *testing.T) {
	ctx := within(t, 3*time.Hour)
	r := releasesOf(t, onPostgres(t))
	first, _ := r.next(release{})
	u := newUpdates(t, ctx, box.Options{Bundle: first}, r)
	good, failures := 0, u.failures()
	if torture() {
		good, failures = many, slices.Repeat(failures, manyTimes)
	} else {
		seeded(t).Shuffle(len(failures), func(i, j int) { failures[i], failures[j] = failures[j], failures[i] })
		failures = failures[:2]
	}
	u.begin(ctx)
	u.postponed(release{migration: "create table later (x integer);"})
	u.each(good, failures)
	if torture() {
		u.stones()
	}
	u.end(ctx)
	u.saved(ctx)
	u.anotherServer(ctx)
	healthyWith(t, u.b, u.releases.containers())
}

// What `make torture` takes: good releases, and every kind of those that fail.
const many, manyTimes = 100, 4

// listeners have an event stream open all the time, as soon as there is one.
const listeners = 3

// each takes the good releases, and then those that fail.
func (u *updates) each(good int, failures []failing) {
	u.t.Helper()
	for i := range good {
		u.good(i)
		u.load.Listen(listeners, eventsPath)
	}
	u.load.Listen(listeners, eventsPath)
	for _, f := range failures {
		u.fails(f)
	}
}

// newUpdates installs a box with a release, and sells once on it.
func newUpdates(t *testing.T, ctx context.Context, o box.Options, r *releases) *updates {
	t.Helper()
	b := boot(t, o)
	done, err := b.Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	u := &updates{t: t, b: b, releases: r}
	u.o = walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(done.AdminLink), Unique: "first"}
	if u.receipt, err = walk.Order(ctx, u.o); err != nil {
		t.Fatal(err)
	}
	return u
}

// updates is a box under load whose stack is updated.
type updates struct {
	t        *testing.T
	b        *box.Box
	releases *releases
	receipt  walk.Receipt
	o        walk.Options
	watch    io.Writer // sees what commands print as it appears; may be nil
	load     *box.Load
	pen      *pen
	held     []time.Duration
}

// begin starts the load and the writer.
func (u *updates) begin(ctx context.Context) {
	u.t.Helper()
	u.pen = u.newPen(ctx)
	u.load = visitors(u.b)
	u.load.Start(u.t.Context())
	u.pen.begin(u.t, ctx)
	u.load.Lap(lapQuiet)
	for u.load.Seen() < quietRequests && ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	u.load.Lap("")
}

// What is compared: requests before the first change, and those of while a command
// changes something. quietRequests are enough for a 99th percentile.
const (
	lapQuiet, lapChange = "quiet", "change"
	quietRequests       = 2000
)

// newPen lets a shop owner of its own write.
func (u *updates) newPen(ctx context.Context) *pen {
	u.t.Helper()
	o := u.o
	o.JoinPath, o.Admin, o.Unique = "", u.receipt.Admin, "scribe"
	s, err := walk.NewScribe(ctx, o)
	if err != nil {
		u.t.Fatal(err)
	}
	return &pen{scribe: s}
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
	u.pen.end()
	counts, written := u.load.Stop(), u.pen.tally()
	if written.failed > 0 {
		u.t.Errorf("%d writes failed: %v", written.failed, written.last)
	}
	if err := u.pen.check(ctx); err != nil {
		u.t.Error(err)
	}
	if err := walk.Verify(ctx, u.o, u.receipt); err != nil {
		u.t.Error(err)
	}
	slices.Sort(u.held)
	u.t.Logf("%d changes: %s; %d writes acknowledged, all there", len(u.held), counts, written.acknowledged)
	if n := len(u.held); n > 0 {
		u.t.Logf("visitors waited: median %v, longest %v", u.held[n/2].Round(time.Millisecond), u.held[n-1].Round(time.Millisecond))
	}
	quiet, change := counts.P99(lapQuiet), counts.P99(lapChange)
	u.t.Logf("99 of 100 requests were answered within %v before, and within %v while something changed (%d of them): added p99 %v",
		quiet.Round(time.Millisecond), change.Round(time.Millisecond), len(counts.Laps[lapChange]), (change - quiet).Round(time.Millisecond))
	// Each change ends the streams that are open, once at least.
	if counts.Failed > 0 || counts.Requests < 100 || counts.ByKind["events"] < listeners {
		u.t.Errorf("%s", counts)
	}
}

// apply runs the command by hand, as a person would.
func (u *updates) apply(file string, more ...string) (updateAnswer, int) {
	u.t.Helper()
	if err := u.b.CopyIn(within(u.t, 5*time.Minute), file, bundleIn, 0o644); err != nil {
		u.t.Fatal(err)
	}
	return u.run(append([]string{"rochdale", "update", "apply", "--json", "--from", bundleIn}, more...)...)
}

func (u *updates) run(args ...string) (last updateAnswer, code int) {
	u.t.Helper()
	u.load.Lap(lapChange)
	r, err := u.b.Exec(u.t.Context(), testhost.Command{Args: args, Stdout: u.watch})
	u.load.Lap("")
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
		got, code = u.apply(file, f.args...)
		undo()
		if n == tries || !got.tooBusy() || slices.Contains(got.reasons(), f.reason) {
			return got, code, version
		}
		u.t.Logf("%s: the machine was too busy", version)
	}
}

// insist runs a change that needs no release, and again when the machine was too
// busy.
func (u *updates) insist(args ...string) (got updateAnswer, code int) {
	u.t.Helper()
	for n := 1; ; n++ {
		got, code = u.run(args...)
		if n == tries || !got.tooBusy() {
			return got, code
		}
		u.t.Logf("%v: the machine was too busy", args)
	}
}

func (u *updates) good(i int) {
	u.t.Helper()
	u.takes(release{migration: fmt.Sprintf("create table next_%d (x integer);", i)})
}

// takes wants a release to be taken.
func (u *updates) takes(next release, args ...string) {
	u.t.Helper()
	got, code, version := u.offer(failing{release: next, args: args})
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
	args    []string // more of the command
}

func (u *updates) failures() []failing {
	all := []failing{
		{name: "image missing", release: release{arch: otherArch()}, reason: "stack.bundle.arch"},
		{name: "never healthy", release: release{replace: map[string]string{"health: /healthz": "health: /no-such-page"}}, reason: notUp},
		{name: "crash loop", release: release{replace: map[string]string{"    image: coop": "    image: coop\n    command: [no-such-verb]"}}, reason: "engine.ended"},
		{name: "probe fails", release: release{replace: map[string]string{"path: /shops,": "path: /no-such-page,"}}, reason: "update.probe"},
		{name: "migration fails half-way", release: release{migration: "create table half (x integer);\ninsert into no_such_table values (1);"}, reason: "migrate.copy-not-changed"},
		{name: "rows lost", release: release{migration: "delete from postings where id = (select max(id) from postings);"}, reason: "update.fact"},
		{name: "no memory", release: release{replace: map[string]string{"needs: {": "needs: {memory: 900G, disk: 1G} # "}}, reason: "update.no-memory"},
	}
	if u.releases.postgres {
		return all // nothing but a full disk would do, and that is the build machine's
	}
	return append(all, failing{name: "no room", release: release{}, reason: "update.no-room", spoil: u.fillDisk})
}

// fails wants a release to be put back: the same version, the same data, no
// request dropped.
func (u *updates) fails(f failing) {
	u.t.Helper()
	before, err := u.b.Status(u.t.Context())
	if err != nil {
		u.t.Fatal(err)
	}
	data := u.databases()
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
	if now := u.databases(); now != data {
		u.t.Errorf("%s: the server has the databases %q and had %q", f.name, now, data)
	}
}

// databases are those that a server of the stack's own has, one for each generation.
func (u *updates) databases() string {
	u.t.Helper()
	if !u.releases.postgres {
		return ""
	}
	id, err := u.b.Output(u.t.Context(), "docker", "ps", "--quiet", "--filter", "label=coop.rochdale.stack=delivery", "--filter", "label=coop.rochdale.service=db")
	if err != nil {
		u.t.Fatal(err)
	}
	const ask = `read -r PGPASSWORD </run/secrets/database-password || true
export PGPASSWORD
exec psql -h 127.0.0.1 -U coop -d postgres -XAt -c "select datname from pg_database where datname like 'coop%' order by oid"`
	out, err := u.b.Output(u.t.Context(), "docker", "exec", strings.TrimSpace(id), "sh", "-c", ask)
	if err != nil || out == "" {
		u.t.Fatalf("the databases are %q, %v", out, err)
	}
	return out
}

// oneGeneration wants nothing to be left of the attempt: containers and data.
func (u *updates) oneGeneration(name string) {
	u.t.Helper()
	out, err := u.b.Output(u.t.Context(), "docker", "ps", "-a", "-q", "--filter", "label=coop.rochdale.stack=delivery")
	if n := len(strings.Fields(out)); err != nil || n != u.releases.containers() {
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

// postponed holds a slow upload open: the update must leave it alone, and is taken
// when nobody is in its way.
func (u *updates) postponed(next release) {
	u.t.Helper()
	var cutOff error
	hold := func() (undo func()) {
		finish := u.uploadAt("room")
		return func() { cutOff = finish() }
	}
	got, code, version := u.offer(failing{release: next, reason: postponed, spoil: hold})
	if code == 0 || got.ID != postponed {
		u.t.Errorf("an update while somebody uploads: code %d, %+v", code, got)
	}
	if cutOff != nil {
		u.t.Errorf("the upload was cut off: %v", cutOff)
	}
	// Nothing is wrong with the release: it may be taken afterwards.
	got, code = u.apply(u.releases.file(version))
	if got.tooBusy() {
		got, code, version = u.offer(failing{release: next})
	}
	if code != 0 {
		u.t.Errorf("the same update afterwards: code %d, %+v", code, got)
	}
	u.releases.took(next)
	u.nowRuns(version)
}

// uploadAt begins a slow upload when an update comes to the step: the platform waits
// 20 s for one, and what comes before the gate closes may take longer. finish is for
// when the update has ended.
func (u *updates) uploadAt(step string) (finish func() error) {
	seen := &sight{of: fmt.Appendf(nil, `"plan":"stack-update","step":%q`, step), there: make(chan struct{})}
	u.watch = seen
	over := make(chan struct{})
	err := fmt.Errorf("the update never came to the step %s", step)
	var up *upload
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case <-seen.there:
			up, err = u.slowUpload()
		case <-over:
		}
	})
	return func() error {
		u.watch = nil
		close(over)
		wait.Wait()
		if err != nil {
			return err
		}
		return up.finish()
	}
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
func (u *updates) back(args ...string) {
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
	got, code := u.insist(append([]string{"rochdale", "update", "rollback", "--yes", "--json"}, args...)...)
	if code != 0 || got.Outcome != "committed" {
		u.t.Errorf("a way back: code %d, %+v", code, got)
	}
	u.nowRuns(loss.To.Version)
}

// saved makes a copy of the data, proves it, returns to the release before and from
// there to the copy, which has all that was ordered until then.
func (u *updates) saved(ctx context.Context) {
	u.t.Helper()
	c := &copies{t: u.t, b: u.b, o: u.o}
	c.must("backup", "run")
	c.must("backup", "drill")
	l := c.list("box")
	if !l.Backups.LastDrill.OK || l.newest("box", "full") == "" {
		u.t.Errorf("the drill: %+v", l)
	}
	u.t.Logf("a drill took %.1f s", l.Backups.LastDrill.Duration)
	u.oneGeneration("drill")
	o := u.o
	o.JoinPath, o.Admin, o.Unique = "", u.receipt.Admin, "later"
	later, err := walk.Order(ctx, o)
	if err != nil {
		u.t.Fatal(err)
	}
	u.load.Start(u.t.Context())
	u.back()
	got, code := u.insist("rochdale", "restore", "--at", l.newest("box", "full"), "--yes", "--json")
	if code != 0 || got.Outcome != "committed" {
		u.t.Errorf("a restore: code %d, %+v", code, got)
	}
	counts := u.load.Stop()
	u.t.Logf("a way back and a restore: %s", counts)
	if counts.Failed > 0 || counts.Requests < 30 {
		u.t.Errorf("%s", counts)
	}
	if err := errors.Join(u.pen.check(ctx), walk.Verify(ctx, u.o, u.receipt)); err != nil {
		u.t.Errorf("what was saved: %v", err)
	}
	if err := walk.Verify(ctx, o, later); err == nil {
		u.t.Error("what was ordered after the copy is there, too")
	}
	u.oneGeneration("restore")
}

// anotherServer takes a release whose server does not start, one whose server does,
// and the way back from there. Each server goes on with the files of the one before.
func (u *updates) anotherServer(ctx context.Context) {
	u.t.Helper()
	window := []string{"--window", "2m"}
	u.fails(failing{
		name: "another server ends", reason: "engine.ended", args: window,
		release: release{replace: map[string]string{"    image: db": "    image: db\n    entrypoint: [/bin/sh, -c, exit 3]"}},
	})
	u.takes(release{replace: map[string]string{"mem_limit: 256M": "mem_limit: 272M"}}, window...)
	if err := walk.Verify(ctx, u.o, u.receipt); err != nil {
		u.t.Errorf("on another server: %v", err)
	}
	u.oneGeneration("another server")
	u.back(window...)
	if err := walk.Verify(ctx, u.o, u.receipt); err != nil {
		u.t.Errorf("on the server before: %v", err)
	}
	u.oneGeneration("the server before")
}

// upload is a request whose body comes slowly.
type upload struct{ conn *tls.Conn }

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
	return &upload{conn.(*tls.Conn)}, nil
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
