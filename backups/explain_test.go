// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted answers call after call, and notes what was asked: for what a real
// restic does only after a quarter of an hour, or not at all.
type scripted struct {
	answers []Ended
	calls   []Call
}

func (s *scripted) Restic(_ context.Context, c Call) (Ended, error) {
	s.calls = append(s.calls, c)
	if len(s.answers) < len(s.calls) {
		return Ended{}, errors.New("no more answers")
	}
	return s.answers[len(s.calls)-1], nil
}

// command gives the words of a call from the command on.
func (s *scripted) command(i int) string {
	for j, a := range s.calls[i].Args {
		if !strings.HasPrefix(a, "-") {
			return strings.Join(s.calls[i].Args[j:], " ")
		}
	}
	return ""
}

func far(url string) Repository {
	return Repository{Name: "far", URL: url, PasswordFile: "/etc/rochdale/password", EnvFile: "/etc/rochdale/env", Options: []string{"sftp.args=-i /key"}}
}

func exit(code int, message string) string {
	return fmt.Sprintf(`{"message_type":"exit_error","code":%d,"message":%q}`, code, message)
}

// TestExplain has what servers and restic said word for word.
func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		code   int
		stderr string
		id     string
	}{
		"ssh: the key is not accepted": {1, "subprocess ssh: coop@nas: Permission denied (publickey,password).\n" + exit(1, "Fatal: unable to open repository at sftp:coop@nas:/box: unable to start the sftp session, error: error receiving version packet from server"), "backups.refused"},
		"ssh: another host key":        {1, "subprocess ssh: Host key verification failed.\n" + exit(1, "Fatal: unable to open repository at sftp:coop@nas:/box: unable to start the sftp session"), "backups.not-trusted"},
		"ssh: nobody answers":          {1, "subprocess ssh: ssh: connect to host nas port 22: No route to host\n" + exit(1, "Fatal: unable to open repository at sftp:coop@nas:/box: unable to start the sftp session"), "backups.unreachable"},
		"ssh: a host never met":        {1, "subprocess ssh: No ED25519 host key is known for nas and you have requested strict checking.\n" + exit(1, "Fatal: unable to open repository at sftp:coop@nas:/box: unable to start the sftp session"), "backups.not-trusted"},
		"ssh: its words are lost":      {1, exit(1, "Fatal: unable to open repository at sftp:coop@nas:/box: unable to start the sftp session, error: error receiving version packet from server: server unexpectedly closed connection: unexpected EOF"), "backups.no-session"},
		"ssh: no such name":            {1, "subprocess ssh: ssh: Could not resolve hostname nas: Name or service not known\n" + exit(1, "Fatal: unable to open repository at sftp:coop@nas:/box: unable to start the sftp session"), "backups.unreachable"},
		"ssh is not there":             {1, exit(1, `Fatal: unable to open repository at sftp:coop@nas:/box: cmd.Start: exec: "ssh": executable file not found in $PATH`), "backups.no-ssh"},
		"a certificate of nobody":      {1, exit(1, `Fatal: unable to open config file: Head "https://hub/config": tls: failed to verify certificate: x509: certificate signed by unknown authority`), "backups.not-trusted"},
		"no such host":                 {1, exit(1, `Fatal: unable to open config file: Head "https://hub/config": dial tcp: lookup hub: no such host`), "backups.unreachable"},
		"a bucket of somebody else":    {1, exit(1, "Fatal: unable to open config file: Stat: Access Denied."), "backups.refused"},
		"a server's disk":              {1, "Save(<data/3309672a37>) failed: sftp: no space left on device\n" + exit(1, "Fatal: unable to save snapshot"), "backups.disk-full"},
		"a broken tree":                {1, exit(1, "LoadRaw(<index/d73521598f>): invalid data returned"), "backups.repository-damaged"},
		"a young damaged lock":         {1, exit(1, "Fatal: invalid lock file: LoadRaw(<lock/aaaaaaaaaa>): invalid data returned\n\nthe `unlock --remove-all` command"), "backups.lock-damaged"},
		"an unknown code":              {42, exit(42, "Fatal: something new"), "backups.failed"},
		"a panic":                      {2, "panic: runtime error\n\ngoroutine 1 [running]:", "backups.failed"},
		"killed":                       {137, "", "backups.killed"},
		"ended without a word":         {1, "", "backups.killed"},
		"terminated":                   {143, "signal terminated received, cleaning up\n", "backups.interrupted"},
		"interrupted":                  {130, exit(130, "Fatal: unable to save snapshot: context canceled"), "backups.interrupted"},
	} {
		m := &scripted{answers: []Ended{{Code: c.code, Stderr: []byte(c.stderr)}}}
		err := (&Door{Machine: m}).Prune(t.Context(), far("sftp:coop@nas:/box"))
		if !isProblem(err, c.id) {
			t.Errorf("%s: %v, want %s", name, err, c.id)
		}
	}
}

// TestCheckThatWasNotMade is no sign of damage, whatever restic counts.
func TestCheckThatWasNotMade(t *testing.T) {
	counted := []byte(`{"message_type":"summary","num_errors":3,"broken_packs":null}`)
	lost := `{"message_type":"error","message":"Load(<data/6f51d5c146>, 0, 0) failed: read tcp 10.0.0.1:5: connection reset by peer"}` + "\n"
	advice := `{"message_type":"error","message":"\nThe repository is damaged and must be repaired. Please follow"}` + "\n"
	for name, c := range map[string]struct {
		code   int
		stderr string
		id     string
	}{
		"no repository":   {10, exit(10, "Fatal: repository does not exist"), "backups.no-repository"},
		"a line that cut": {1, lost + advice + exit(1, "Fatal: repository contains errors"), "backups.unreachable"},
		"only the end":    {1, advice + exit(1, "Fatal: repository contains errors"), "backups.repository-damaged"},
		"and real damage": {1, lost + `{"message_type":"error","message":"pack 12 does not exist"}` + "\n" + exit(1, "Fatal: repository contains errors"), "backups.repository-damaged"},
	} {
		m := &scripted{answers: []Ended{{Code: c.code, Stdout: counted, Stderr: []byte(c.stderr)}}}
		report, err := (&Door{Machine: m}).Check(t.Context(), far("sftp:coop@nas:/box"), Part{})
		if !isProblem(err, c.id) || (report.Errors > 0) != (c.id == "backups.repository-damaged") {
			t.Errorf("%s: %+v, %v, want %s", name, report, err, c.id)
		}
	}
}

// TestAnswersThatAreNotUnderstood are failures, even with the code for success.
func TestAnswersThatAreNotUnderstood(t *testing.T) {
	for name, do := range map[string]func(*Door, Repository) error{
		"identify": func(d *Door, r Repository) error { _, err := d.Identify(t.Context(), r); return err },
		"backup": func(d *Door, r Repository) error {
			_, err := d.Backup(t.Context(), r, Backup{Paths: []string{"/srv"}})
			return err
		},
		"snapshots": func(d *Door, r Repository) error { _, err := d.Snapshots(t.Context(), r); return err },
		"check":     func(d *Door, r Repository) error { _, err := d.Check(t.Context(), r, Part{}); return err },
		"restore": func(d *Door, r Repository) error {
			_, err := d.Restore(t.Context(), r, Restore{Snapshot: "01234567", Target: "/srv/out"})
			return err
		},
	} {
		for _, out := range []string{"", "\n", "{", "null garbage", `{"message_type":"news","text":"hello"}`} {
			m := &scripted{answers: []Ended{{Stdout: []byte(out)}}}
			if err := do(&Door{Machine: m}, far("rest:https://hub/")); !isProblem(err, "backups.failed") {
				t.Errorf("%s, %q: %v", name, out, err)
			}
		}
	}
}

// TestLockPolicy: without a lock in the way one call is enough; with one, those
// of the dead are removed and the living are waited for, never pushed away.
func TestLockPolicy(t *testing.T) {
	busy := Ended{Code: 11, Stderr: []byte(exit(11, "unable to create lock in backend: repository is already locked exclusively by PID 7 on box by root (UID 0, GID 0)"))}
	m := &scripted{answers: []Ended{busy, {}, {}}}
	d := &Door{Machine: m}
	if err := d.Prune(t.Context(), far("rest:https://hub/")); err != nil || len(m.calls) != 3 {
		t.Fatal(len(m.calls), err)
	}
	if m.command(1) != "unlock" || m.calls[2].Args[0] != "--retry-lock=5m0s" || m.command(2) != "prune" || m.command(0) != "prune" {
		t.Errorf("calls %v", m.calls)
	}
	m = &scripted{answers: []Ended{busy, {}, busy}}
	err := (&Door{Machine: m, Wait: time.Second}).Prune(t.Context(), far("rest:https://hub/"))
	var p *Problem
	if !errors.As(err, &p) || p.ID != "backups.locked" || p.Args["by"] != "box (7)" || m.calls[2].Args[0] != "--retry-lock=1s" {
		t.Errorf("got %v, calls %v", err, m.calls)
	}
	for _, c := range m.calls {
		if slices.Contains(c.Args, "--remove-all") {
			t.Errorf("all locks removed: %v", c.Args)
		}
	}
}

// TestCall holds what is given to restic against what keeps it small and quiet.
func TestCall(t *testing.T) {
	m := &scripted{answers: []Ended{{}, {}, {}}}
	d := &Door{Program: "/restic", Machine: m, Cache: "/cache", Temp: "/temp", Memory: 400 << 20}
	if err := d.Prune(t.Context(), far("s3:https://host/bucket")); err != nil {
		t.Fatal(err)
	}
	if err := d.RepairSnapshots(t.Context(), Repository{Name: "near", URL: t.TempDir(), PasswordFile: "/p"}); err != nil {
		t.Fatal(err)
	}
	c, near := m.calls[0], m.calls[1]
	want := []string{"LC_ALL=C.UTF-8", "TZ=UTC", "TMPDIR=/temp", "GOMAXPROCS=1", "GOMEMLIMIT=314572800", "GOGC=20"}
	if !slices.Equal(c.Env, want) || slices.Contains(near.Env, "GOGC=20") {
		t.Errorf("environment %v and %v", c.Env, near.Env)
	}
	if c.Memory != 400<<20 || c.Program != "/restic" || c.Repository != "far" || c.PasswordFile != "/etc/rochdale/password" || c.EnvFile != "/etc/rochdale/env" {
		t.Errorf("call %+v", c)
	}
	wantArgs := []string{"--json", "--quiet", "--repo=s3:https://host/bucket", "--cache-dir=/cache", "--cleanup-cache", "--option=sftp.args=-i /key", "prune"}
	if !slices.Equal(c.Args, wantArgs) || !slices.Contains(near.Args, "--no-cache") {
		t.Errorf("arguments %q and %q", c.Args, near.Args)
	}
	// Somebody waits for it, or for what it holds up. What it answered here is nothing.
	if _, err := d.Backup(t.Context(), far("s3:https://host/bucket"), Backup{Paths: []string{"/data"}}); err == nil {
		t.Error("no answer is a backup")
	}
	if env := m.calls[2].Env; !slices.Contains(env, "GOMAXPROCS=2") || slices.Contains(env, "GOMAXPROCS=1") {
		t.Errorf("a backup's environment %v", env)
	}
}

// TestMachineThatCanNotRun is a problem as well.
func TestMachineThatCanNotRun(t *testing.T) {
	err := (&Door{Machine: &scripted{}}).Prune(t.Context(), far("rest:https://hub/"))
	if !isProblem(err, "backups.failed") {
		t.Errorf("got %v", err)
	}
}

// TestHealGoesOn without packs that are gone: an interrupted heal goes on.
func TestHealGoesOn(t *testing.T) {
	gone, left := strings.Repeat("a", 64), strings.Repeat("b", 64)
	list := Ended{Stdout: []byte("[]")}
	m := &scripted{answers: []Ended{{}, {Stdout: []byte(left + "\n")}, {}, list, {}, list}}
	d := &Door{Machine: m, Temp: t.TempDir()}
	done, err := d.Heal(t.Context(), far("rest:https://hub/"), CheckReport{BrokenPacks: []string{gone, left}}, func(context.Context) error { return nil })
	if err != nil || !slices.Equal(done.Packs, []string{left}) || m.command(2) != "repair packs -- "+left || m.calls[2].Dir == "" {
		t.Errorf("healed %+v, %v, calls %v", done, err, m.calls)
	}
}

func TestRepairPacksIsBounded(t *testing.T) {
	var packs []string
	for i := range 20 {
		packs = append(packs, fmt.Sprintf("%064x", i))
	}
	m := &scripted{answers: make([]Ended, 3)}
	if err := (&Door{Machine: m, Temp: t.TempDir()}).RepairPacks(t.Context(), far("rest:https://hub/"), packs); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{8, 8, 4} {
		if got := strings.Count(m.command(i), " 0"); got != want {
			t.Errorf("call %d has %d packs, want %d", i, got, want)
		}
	}
}

// FuzzRead: whatever a program writes, what is kept of it is bounded and text.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"message_type":"summary","snapshot_id":"a"}`), []byte(exit(1, "Fatal: x\ngithub.com/restic")))
	f.Add([]byte("{"), []byte("\r   retrying\n{\"message_type\":\"error\",\"error\":null,\"item\":\"/a\"}\n"))
	f.Fuzz(func(t *testing.T, stdout, stderr []byte) {
		o := read(Ended{Code: 1, Stdout: stdout, Stderr: stderr})
		p := far("rest:https://hub/").explain(o)
		if p.ID == "" || len(p.Args["detail"]) > 310 || len(few([]string{string(stdout), string(stderr)})) > 510 {
			t.Errorf("explained as %v", p)
		}
		o.saved()
		o.report()
		o.foundDamage()
	})
}

// TestByHandShowsNoPassword: such a command is kept and shown to whoever reads findings.
func TestByHandShowsNoPassword(t *testing.T) {
	d := &Door{Program: "/restic"}
	r := Repository{URL: "rest:https://rides:hunter2@backup.example/rides/", PasswordFile: "/p", Options: []string{"sftp.command=sshpass -p hunter2"}}
	const want = "/restic --repo='rest:https://rides:...@backup.example/rides/' --password-file=/p --option='sftp.command=...' forget x"
	if got := d.byHand(r, "forget x"); got != want {
		t.Errorf("%s", got)
	}
}

// TestCodeThatWasLost: what restic says of its end counts, and not the code of whoever
// ran it.
func TestCodeThatWasLost(t *testing.T) {
	const said = `{"message_type":"exit_error","code":10,"message":"Fatal: repository does not exist: unable to open config file"}`
	r := Repository{Name: "box", URL: t.TempDir()}
	if p := r.explain(read(Ended{Code: 1, Stderr: []byte(said + "\n")})); p.ID != "backups.no-repository" {
		t.Error(p)
	}
	for want, stderr := range map[string]string{"backups.no-repository": said, "backups.failed": "{}"} {
		d := &Door{Program: "/restic", Machine: unseen{[]byte(stderr)}}
		if err := d.Unlock(t.Context(), far("rest:https://backup.example/rides/")); !isProblem(err, want) {
			t.Errorf("nobody saw the end of one that said %s: %v", stderr, err)
		}
	}
}

// unseen is a machine on which nobody sees how restic ends.
type unseen struct{ stderr []byte }

// Restic implements [Machine].
func (m unseen) Restic(context.Context, Call) (Ended, error) {
	return Ended{Stderr: m.stderr}, errors.New("nobody saw it")
}
