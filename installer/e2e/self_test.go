// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
)

// TestOwnUpdate lets versions of Rochdale take over from each other under load,
// good ones and bad ones, kills them on their way, and turns the machine off in the
// middle of one. No request may fail, and nobody helps. `make torture` has one more, which hangs.
func TestOwnUpdate(t *testing.T) {
	t.Parallel()
	b := boot(t, box.Options{Binary: version(t, "0.2.0")})
	if _, err := b.Install(within(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	healthy(t, b)
	brought := []string{"0.3.0", "0.4.0-exits", "0.6.0"}
	if torture() {
		brought = append(brought, "0.5.0-hangs")
	}
	for _, v := range brought {
		file := version(t, v)
		if err := b.CopyIn(within(t, time.Minute), file, "/root/"+v, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a good version", func(t *testing.T) { takesOver(t, b, "0.3.0", "update", "--from", "/root/0.3.0") })
	var points []string
	t.Run("killed", func(t *testing.T) { points = killedOnTheWay(t, b, "0.3.0") })
	t.Run("one that ends at once", func(t *testing.T) { putBack(t, b, "0.4.0-exits", "/root/0.4.0-exits", "") })
	t.Run("killed on the way back", func(t *testing.T) {
		for _, p := range points {
			putBack(t, b, "0.4.0-exits", another(t, b, "0.4.0-exits"), p)
		}
	})
	if torture() {
		t.Run("one that hangs", func(t *testing.T) { putBack(t, b, "0.5.0-hangs", "/root/0.5.0-hangs", "") })
	}
	var before struct{ Version, Program string }
	t.Run("a reboot in the middle", func(t *testing.T) {
		reboots := 1
		if torture() {
			reboots = 12
		}
		dice := seeded(t)
		for range reboots {
			before = history(t, b).Current
			rebootInside(t, b, "0.6.0", time.Duration(dice.IntN(int(rebootWithin))))
		}
	})
	t.Run("back by a person", func(t *testing.T) {
		takesOver(t, b, before.Version, "rollback")
		if now := history(t, b).Current; now != before {
			t.Errorf("%+v runs, not %+v", now, before)
		}
	})
	t.Run("refused", func(t *testing.T) { refused(t, b) })
	t.Run("what is left", func(t *testing.T) { leftOver(t, b) })
}

// version builds the product under another name. By its name alone it may be a
// version whose daemon fails; everything else is the same.
func version(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rochdale")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X rochdale/appliance.version="+name, "-o", path, "rochdale/cmd/rochdale")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build version %s: %v\n%s", name, err, out)
	}
	return path
}

// ownHistory is `rochdale self history --json`, as far as it is looked at.
type ownHistory struct {
	Current struct{ Version, Program string }
	Trial   *struct{ Phase string }
	History []ownChange
}

type ownChange struct {
	Outcome string
	To      struct{ Version string }
	Reason  struct{ ID string }
}

// last is the newest change that is over, if no other one is under way.
func (h ownHistory) last() ownChange {
	if h.Trial != nil || len(h.History) == 0 {
		return ownChange{}
	}
	return h.History[0]
}

// history is empty as long as the machine does not answer.
func history(t *testing.T, b *box.Box) (h ownHistory) {
	t.Helper()
	r, err := b.Exec(t.Context(), testhost.Command{Args: []string{"rochdale", "self", "history", "--json"}})
	if err != nil || r.Code != 0 {
		return h
	}
	if err := json.Unmarshal([]byte(r.Stdout), &h); err != nil {
		t.Fatalf("%v in %s", err, r.Stdout)
	}
	return h
}

// self runs `rochdale self ...` and wants its exit code.
func self(t *testing.T, b *box.Box, code int, args ...string) error {
	args = append([]string{"rochdale", "self"}, append(args, "--yes", "--no-input", "--json")...)
	r, err := b.Exec(within(t, 15*time.Minute), testhost.Command{Args: args})
	if err == nil && r.Code != code {
		err = fmt.Errorf("code %d, not %d\n%s\n%s", r.Code, code, r.Stdout, r.Stderr)
	}
	return err
}

// takesOver wants the version to run everywhere afterwards.
func takesOver(t *testing.T, b *box.Box, version string, args ...string) {
	underLoad(t, b, "own "+args[0], 1, func(int) error { return self(t, b, 0, args...) })
	runs(t, b, version)
	if last := history(t, b).last(); last.Outcome != "proven" || last.To.Version != version {
		t.Errorf("the last change is %+v", last)
	}
}

// runs wants daemon, edge and command line to be of the version, and the box well.
func runs(t *testing.T, b *box.Box, version string) {
	t.Helper()
	serving(t, b)
	for _, unit := range []string{"rochdale", "rochdale-edge"} {
		if exe := sh(t, b, "readlink /proc/$(systemctl show --value -p MainPID "+unit+")/exe"); !strings.Contains(exe, "/versions/"+version+"-") {
			t.Errorf("%s runs %s, not version %s", unit, exe, version)
		}
	}
	if said := sh(t, b, "rochdale version"); !strings.HasPrefix(said, "rochdale "+version+" ") {
		t.Errorf("the command line says %s", said)
	}
	if s, err := b.Status(t.Context()); err != nil || s.Version != version {
		t.Errorf("the daemon says that it is %q, %v", s.Version, err)
	}
	if err := b.WaitHTTPS(within(t, time.Minute)); err != nil {
		t.Error(err)
	}
}

// killPoints is at how many points a short run kills the plan of an update of our own:
// a version needs a minute and more to prove itself.
const killPoints = 1

// killedOnTheWay lets programs of a version take over, each of which is killed once
// with SIGKILL: `make torture` takes the points before and after every step. The guard
// runs the plan again, and nobody helps.
func killedOnTheWay(t *testing.T, b *box.Box, version string) (points []string) {
	steps := stepsOf(t, t.Context(), b, "self-update")
	if len(steps) < 10 || steps[len(steps)-1] != "edge" {
		t.Fatalf("the steps of an update are %v", steps)
	}
	points = bothSides("self-update", steps)
	if !torture() {
		seeded(t).Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		points = points[:killPoints]
	}
	underLoad(t, b, "own update killed", len(points), func(i int) error { return killedAt(t, b, version, points[i]) })
	runs(t, b, version)
	t.Logf("killed at %d of %d points, each time the new version took over: %v %v", len(points), 2*len(steps), points, !t.Failed())
	return points
}

// another makes a program of the same version that is not the same program: what comes
// after the end of it is never read.
func another(t *testing.T, b *box.Box, version string) string {
	t.Helper()
	const file = "/root/another"
	sh(t, b, "cp /root/"+version+" "+file+"; date +%N >>"+file)
	return file
}

// killedAt wants the plan to be killed at the point, and its program to be proven.
func killedAt(t *testing.T, b *box.Box, version, point string) error {
	const file = "/var/lib/rochdale/failpoint"
	from := another(t, b, version)
	if err := b.WriteFile(t.Context(), file, []byte(point), 0o600); err != nil {
		return err
	}
	before := history(t, b).Current
	if err := self(t, b, 0, "update", "--from", from); err != nil {
		return fmt.Errorf("%s: %w", point, err)
	}
	if _, err := b.ReadFile(t.Context(), file); err == nil {
		return fmt.Errorf("%s: nobody was killed", point)
	}
	if now := history(t, b); now.Current == before || now.last().Outcome != "proven" {
		return fmt.Errorf("%s: %+v runs, as before; the last change is %+v", point, now.Current, now.last())
	}
	return nil
}

// putBack wants the version of before to run again by itself, and the bad one, which is
// in the file from, to be refused from then on. The plan of the way back is killed at
// the point, unless that is empty.
func putBack(t *testing.T, b *box.Box, bad, from, point string) {
	before := history(t, b).Current.Version
	start := time.Now()
	struck := strike(t, b, point)
	underLoad(t, b, "put back "+bad+" "+point, 1, func(int) error { return self(t, b, 12, "update", "--from", from) })
	struck()
	t.Logf("%s was put back after %.0f s", bad, time.Since(start).Seconds())
	runs(t, b, before)
	if last := history(t, b).last(); last.Outcome != "put-back" || last.To.Version != bad || last.Reason.ID != "self.reason.starts" {
		t.Errorf("the last change is %+v", last)
	}
	if got := ask(t, b, "rochdale", "self", "update", "--from", from); got.Code != 12 || got.Error != "self.bad" {
		t.Errorf("once more: code %d, error %q", got.Code, got.Error)
	}
	if got := ask(t, b, "rochdale", "doctor"); !strings.Contains(got.Text, "doctor.own-put-back") {
		t.Errorf("the doctor does not tell:\n%s", got.Text)
	}
}

// strike names the point as soon as a trial is lost: the same plan ran before then, with
// the other program. What it gives wants somebody to have been killed there.
func strike(t *testing.T, b *box.Box, point string) (struck func()) {
	t.Helper()
	if point == "" {
		return func() {}
	}
	const file = "/var/lib/rochdale/failpoint"
	p, err := b.Start(within(t, 5*time.Minute), testhost.Command{Args: []string{"sh", "-ec",
		`until grep -q '"phase": "backing"' /var/lib/rochdale/self.json; do sleep 0.02; done; printf %s "$1" >"$2"`, "sh", point, file}})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if code, err := p.Wait(); code != 0 || err != nil {
			t.Errorf("%s was not named: code %d, %v", point, code, err)
		}
		if _, err := b.ReadFile(t.Context(), file); err == nil {
			t.Errorf("%s: nobody was killed on the way back", point)
		}
	}
}

// rebootWithin is about how long the edge takes to follow the daemon.
const rebootWithin = 900 * time.Millisecond

// rebootInside restarts the machine when the new version has the daemon and not
// the edge, or a little later: the trial goes on with the next boot.
func rebootInside(t *testing.T, b *box.Box, version string, after time.Duration) {
	from := another(t, b, version)
	before := history(t, b).Current.Program
	if before == "" {
		t.Fatal("the machine does not tell what runs")
	}
	var out bytes.Buffer
	p, err := b.Start(within(t, 10*time.Minute), testhost.Command{Args: []string{"rochdale", "self", "update", "--from", from, "--yes", "--no-input"}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, b, "while readlink /usr/local/lib/rochdale/daemon | grep -qF '/"+before+"/'; do sleep 0.05; done; sleep "+fmt.Sprint(after.Seconds()))
	if err := b.Reboot(within(t, 3*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(); code == 0 && err == nil {
		t.Fatalf("the update ended before the reboot:\n%s", out.String())
	}
	if failed, err := b.Wait(within(t, 3*time.Minute)); err != nil || len(failed) > 0 {
		t.Errorf("after the reboot units failed: %v, %v", failed, err)
	}
	var last ownChange
	for range 240 {
		if last = history(t, b).last(); last.Outcome != "" {
			break
		}
		time.Sleep(time.Second)
	}
	if last.Outcome != "proven" || last.To.Version != version {
		t.Fatalf("rebooted %v after the daemon's link was turned, the last change is %+v\n%s", after, last,
			sh(t, b, "journalctl --no-pager -u rochdale-guard -u rochdale-self-update -n 40; cat /var/lib/rochdale/self.json"))
	}
	runs(t, b, version)
	if history(t, b).Current.Program == before {
		t.Errorf("%s runs, as before", before)
	}
}

func refused(t *testing.T, b *box.Box) {
	sh(t, b, "head -c 1000000 /root/0.6.0 >/root/torn; cp /bin/true /root/other")
	for file, want := range map[string]string{"/root/torn": "self.not-ours", "/root/other": "self.not-ours", "/root/0.2.0": "self.older", "/root/none": "self.no-file"} {
		if file == "/root/0.2.0" {
			sh(t, b, "cp "+box.Program+" "+file)
		}
		if got := ask(t, b, "rochdale", "self", "update", "--from", file); got.Error != want {
			t.Errorf("%s: code %d, error %q, want %s", file, got.Code, got.Error, want)
		}
	}
	sh(t, b, "cp /usr/local/lib/rochdale/daemon /root/same")
	before := len(history(t, b).History)
	if got := ask(t, b, "rochdale", "self", "update", "--from", "/root/same"); got.Code != 0 || len(history(t, b).History) != before {
		t.Errorf("the version that runs: code %d\n%s", got.Code, got.Text)
	}
}

// leftOver: nothing of a trial stays, no unit failed, and old versions went.
func leftOver(t *testing.T, b *box.Box) {
	if list := strings.Fields(sh(t, b, "ls -A /usr/local/lib/rochdale")); strings.Join(list, " ") != "daemon edge versions" {
		t.Errorf("there are %v", list)
	}
	if list := strings.Fields(sh(t, b, "ls -A /usr/local/lib/rochdale/versions")); len(list) > 3 {
		t.Errorf("the versions are %v", list)
	}
	if failed := sh(t, b, "systemctl --failed --no-legend"); failed != "" {
		t.Errorf("failed units:\n%s", failed)
	}
	if got := ask(t, b, "rochdale", "uninstall", "--yes"); got.Code != 0 {
		t.Fatalf("uninstall: code %d\n%s", got.Code, got.Text)
	}
	if left := sh(t, b, "ls -d /usr/local/lib/rochdale /etc/systemd/system/rochdale* 2>/dev/null || true"); left != "" {
		t.Errorf("left over:\n%s", left)
	}
}
