// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/stacks/coop/walk"
)

// offsite is the name of the repository on the other machine.
const offsite = "offsite"

// backupsAnswer is what `rochdale backup list --json` prints.
type backupsAnswer struct {
	Backups struct {
		Repositories []struct {
			Name      string          `json:"name"`
			LastError json.RawMessage `json:"last_error"`
		} `json:"repositories"`
		LastCheck time.Time `json:"last_check"`
		LastDrill struct {
			Duration float64 `json:"duration_s"`
			OK       bool    `json:"ok"`
		} `json:"last_drill"`
		RPO *int64 `json:"rpo_s"`
	} `json:"backups"`
	Snapshots []struct {
		Repository string `json:"repository"`
		Snapshot   string `json:"snapshot"`
		Kind       string `json:"kind"`
	} `json:"snapshots"`
}

// TestBackups keeps copies on the box and on another machine, proves them, goes
// back to one under load, and takes one that is damaged or out of reach for what
// it is.
func TestBackups(t *testing.T) {
	t.Parallel()
	b := boot(t, box.Options{})
	ctx := within(t, time.Hour)
	done, err := b.Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	c := &copies{t: t, b: b, o: walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(done.AdminLink), Unique: "before"}}
	c.vault(ctx)
	before, err := walk.Order(ctx, c.o)
	if err != nil {
		t.Fatal(err)
	}
	c.must("backup", "run")
	full := c.both()
	c.o.JoinPath, c.o.Admin, c.o.Unique = "", before.Admin, "after"
	after, err := walk.Order(ctx, c.o)
	if err != nil {
		t.Fatal(err)
	}
	c.must("backup", "run", "--databases")
	c.proven()
	c.backTo(ctx, full, before, after)
	c.outOfReach()
	healthy(t, b)
}

// copies is a box with a repository on another machine.
type copies struct {
	t     *testing.T
	b     *box.Box
	o     walk.Options
	other *testhost.Machine
}

// vault boots the other machine, which takes files over SFTP and nothing else,
// and tells the box of it as docs/operating.md says.
func (c *copies) vault(ctx context.Context) {
	c.t.Helper()
	proxy := cache(c.t)
	var err error
	if c.other, err = testhost.Boot(ctx, testhost.Options{Name: "vault", AptCache: proxy}); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := c.other.Close(); err != nil {
			c.t.Error(err)
		}
	})
	c.on(c.other, "apt-get", "update", "-qq")
	c.on(c.other, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "openssh-server")
	c.on(c.other, "useradd", "--create-home", "--shell", "/bin/sh", "rides")
	c.on(c.b, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "openssh-client")
	c.on(c.b, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
	key, err := c.b.ReadFile(ctx, "/root/.ssh/id_ed25519.pub")
	if err != nil {
		c.t.Fatal(err)
	}
	c.on(c.other, "install", "-d", "-m", "0700", "-o", "rides", "-g", "rides", "/home/rides/.ssh", "/home/rides/copies")
	if err := c.other.WriteFile(ctx, "/home/rides/.ssh/authorized_keys", key, 0o644); err != nil {
		c.t.Fatal(err)
	}
	known, err := c.other.ReadFile(ctx, "/etc/ssh/ssh_host_ed25519_key.pub")
	if err != nil {
		c.t.Fatal(err)
	}
	ip := c.other.IP.String()
	if err := c.b.WriteFile(ctx, "/root/.ssh/known_hosts", []byte(ip+" "+string(known)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	config, err := c.b.ReadFile(ctx, "/etc/rochdale/rochdale.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	config = fmt.Appendf(config, "backups:\n  repositories:\n    %s: {url: %q}\n", offsite, "sftp:rides@"+ip+":/home/rides/copies")
	if err := c.b.WriteFile(ctx, "/etc/rochdale/rochdale.yaml", config, 0o640); err != nil {
		c.t.Fatal(err)
	}
	c.on(c.b, "systemctl", "reload", "rochdale")
}

func (c *copies) on(h testhost.Host, args ...string) {
	c.t.Helper()
	if _, err := h.Output(c.t.Context(), args...); err != nil {
		c.t.Fatal(err)
	}
}

// must runs a command of ours by hand and wants it to succeed.
func (c *copies) must(args ...string) string {
	c.t.Helper()
	began := time.Now()
	r, err := c.b.Exec(within(c.t, 10*time.Minute), testhost.Command{Args: append([]string{"rochdale"}, args...)})
	if err != nil || r.Code != 0 {
		c.t.Fatalf("rochdale %s: code %d, %v\n%s\n%s", strings.Join(args, " "), r.Code, err, r.Stdout, r.Stderr)
	}
	c.t.Logf("rochdale %s: %v", strings.Join(args, " "), time.Since(began).Round(10*time.Millisecond))
	return r.Stdout
}

func (c *copies) list(of string) (got backupsAnswer) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.must("backup", "list", "--from", of, "--json")), &got); err != nil {
		c.t.Fatal(err)
	}
	return got
}

// both wants a full copy on the box and one on the other machine, and gives the
// latter.
func (c *copies) both() (snapshot string) {
	c.t.Helper()
	for _, name := range []string{"box", offsite} {
		l := c.list(name)
		if snapshot = l.newest(name, "full"); snapshot == "" {
			c.t.Errorf("no full copy in %s: %+v", name, l)
		}
		if l.Backups.RPO == nil {
			c.t.Errorf("how much work would be lost is not told: %+v", l.Backups)
		}
	}
	return snapshot
}

// newest is the newest snapshot of a kind in a repository, or "".
func (l backupsAnswer) newest(repository, kind string) string {
	for _, s := range l.Snapshots {
		if s.Repository == repository && s.Kind == kind {
			return s.Snapshot
		}
	}
	return ""
}

// proven has both repositories checked and restored beside the running stack.
func (c *copies) proven() {
	c.t.Helper()
	c.must("backup", "check")
	for _, name := range []string{"box", offsite} {
		c.must("backup", "drill", "--from", name)
		l := c.list(name)
		if !l.Backups.LastDrill.OK || l.Backups.LastDrill.Duration <= 0 {
			c.t.Errorf("the drill from %s: %+v", name, l.Backups.LastDrill)
		}
		c.t.Logf("a drill from %s took %.1f s", name, l.Backups.LastDrill.Duration)
	}
	if l := c.list("box"); l.Backups.LastCheck.IsZero() {
		c.t.Error("no check is on record")
	}
	c.alone()
}

// alone wants one container and one network of the stack to be there: nothing of
// a drill or of what was gone back from.
func (c *copies) alone() {
	c.t.Helper()
	for _, args := range [][]string{{"docker", "ps", "-a"}, {"docker", "network", "ls"}} {
		out, err := c.b.Output(c.t.Context(), append(args, "-q", "--filter", "label=coop.rochdale.stack=delivery")...)
		if n := len(strings.Fields(out)); err != nil || n != 1 {
			c.t.Errorf("docker %v: %d, %v\n%s", args, n, err, out)
		}
	}
}

// backTo goes back to the first copy while visitors come, and forward again.
func (c *copies) backTo(ctx context.Context, full string, before, after walk.Receipt) {
	c.t.Helper()
	load := visitors(c.b)
	load.Start(c.t.Context())
	c.must("restore", "--at", full, "--from", offsite, "--yes")
	if err := walk.Verify(ctx, c.o, before); err != nil {
		c.t.Errorf("what was there at that time: %v", err)
	}
	if err := walk.Verify(ctx, c.o, after); err == nil {
		c.t.Error("what was ordered later is there, too")
	}
	c.must("update", "rollback", "--yes")
	counts := load.Stop()
	c.t.Logf("a restore and its way back: %s", counts)
	if counts.Failed > 0 || counts.Requests < 30 {
		c.t.Errorf("%s", counts)
	}
	if err := errors.Join(walk.Verify(ctx, c.o, before), walk.Verify(ctx, c.o, after)); err != nil {
		c.t.Errorf("after the way back: %v", err)
	}
	c.alone()
}

// outOfReach wants a repository that does not answer to be told, and the other
// one to go on.
func (c *copies) outOfReach() {
	c.t.Helper()
	c.on(c.other, "systemctl", "stop", "ssh")
	r, err := c.b.Exec(within(c.t, 10*time.Minute), testhost.Command{Args: []string{"rochdale", "backup", "run", "--json"}})
	if err != nil || r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, offsite) {
		c.t.Errorf("a run with one repository out of reach: code %d, %v\n%s\n%s", r.Code, err, r.Stdout, r.Stderr)
	}
	l := c.list("box")
	for _, one := range l.Backups.Repositories {
		if failed := len(one.LastError) > 0; failed != (one.Name == offsite) {
			c.t.Errorf("%s: %s", one.Name, one.LastError)
		}
	}
	s, err := c.b.Status(c.t.Context())
	if err != nil || !slices.ContainsFunc(s.Findings, func(f box.Finding) bool { return strings.HasPrefix(f.ID, "backup.") && f.Severity != "notice" }) {
		c.t.Errorf("no finding tells of it: %+v, %v", s.Findings, err)
	}
	c.on(c.other, "systemctl", "start", "ssh")
	c.must("backup", "run", "--to", offsite)
	journal, err := c.b.Output(c.t.Context(), "journalctl", "--no-pager", "--output=cat")
	for _, secret := range c.secrets() {
		if err != nil || secret == "" || strings.Contains(journal, secret) {
			c.t.Errorf("the password of a repository is in the journal, or not to be looked for: %v", err)
		}
	}
}

func (c *copies) secrets() (all []string) {
	c.t.Helper()
	for _, name := range []string{"box", offsite} {
		data, err := c.b.ReadFile(c.t.Context(), "/etc/rochdale/backups/"+name+".password")
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(data)))
	}
	return all
}
