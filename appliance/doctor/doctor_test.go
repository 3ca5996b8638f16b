// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

func ids(found []appliance.Finding) string {
	var list []string
	for _, f := range found {
		list = append(list, string(f.Severity)+" "+f.ID)
	}
	return strings.Join(list, ", ")
}

func TestJudgeDisk(t *testing.T) {
	cases := []struct {
		name string
		disk Disk
		want string
	}{
		{"half empty", Disk{Free: 4 * giga, Total: 8 * giga, Inodes: 500, AllInodes: 1000}, ""},
		{"a large disk may be 99 % full", Disk{Free: 20 * giga, Total: 2000 * giga}, ""},
		{"a small card below a tenth", Disk{Free: 790 * mega, Total: 8 * giga}, "warning doctor.disk-low"},
		{"just at a tenth", Disk{Free: 800 * mega, Total: 8 * giga}, ""},
		{"below 3 %", Disk{Free: 239 * mega, Total: 8 * giga}, "failure doctor.disk-full"},
		{"300 MB of a usual disk", Disk{Free: 300 * mega, Total: 40 * giga}, "failure doctor.disk-full"},
		{"inodes low", Disk{Free: giga, Total: giga, Inodes: 99, AllInodes: 1000}, "warning doctor.inodes-low"},
		{"inodes gone", Disk{Free: giga, Total: giga, Inodes: 19, AllInodes: 1000}, "failure doctor.inodes-full"},
		{"no limit of inodes", Disk{Free: giga, Total: giga}, ""},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := ids(judgeDisk("/", test.disk)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestJudgeMemory(t *testing.T) {
	cases := []struct {
		name   string
		memory Memory
		want   string
	}{
		{"enough", Memory{Total: 512 * mega, Available: 200 * mega, SwapTotal: giga, SwapFree: giga}, ""},
		{"swapping", Memory{Total: 512 * mega, Available: 60 * mega, SwapTotal: giga, SwapFree: giga}, "warning doctor.memory-low"},
		{"used up", Memory{Total: 512 * mega, Available: 30 * mega, SwapTotal: giga, SwapFree: 20 * mega}, "failure doctor.memory-full"},
		{"small and no swap", Memory{Total: giga, Available: giga / 2}, "warning doctor.no-swap"},
		{"large and no swap", Memory{Total: 4 * giga, Available: giga}, ""},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := ids(judgeMemory(test.memory)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestJudgeUnit(t *testing.T) {
	state := func(load, active, sub, restarts, entered string) map[string]string {
		return map[string]string{"LoadState": load, "ActiveState": active, "SubState": sub, "NRestarts": restarts,
			"ActiveEnterTimestampMonotonic": entered}
	}
	const day = "86400000000" // microseconds
	cases := []struct {
		name   string
		state  map[string]string
		uptime time.Duration
		want   string
	}{
		{"runs", state("loaded", "active", "running", "0", day), 25 * time.Hour, ""},
		{"a socket has no restarts", state("loaded", "active", "listening", "", day), 25 * time.Hour, ""},
		{"restarted often, but long ago", state("loaded", "active", "running", "9", day), 25 * time.Hour, ""},
		{"restarted often, and just now", state("loaded", "active", "running", "3", day), 24*time.Hour + time.Minute, "failure doctor.unit-crashing"},
		{"waits for its next start", state("loaded", "activating", "auto-restart", "1", day), 25 * time.Hour, "failure doctor.unit-crashing"},
		{"stopped", state("loaded", "inactive", "dead", "0", "0"), time.Hour, "failure doctor.unit-stopped"},
		{"gave up", state("loaded", "failed", "failed", "0", "0"), time.Hour, "failure doctor.unit-stopped"},
		{"not there", state("not-found", "inactive", "dead", "", "0"), time.Hour, "failure doctor.unit-missing"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := ids(judgeUnit("x.service", test.state, test.uptime)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestJudgeCertificate(t *testing.T) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	cases := []struct {
		name string
		cert appliance.Certificate
		want string
	}{
		{"fresh", appliance.Certificate{NotAfter: now.Add(60 * day)}, ""},
		{"short-lived ones end soon and are renewed", appliance.Certificate{NotAfter: now.Add(day)}, ""},
		{"the authority fails, the old one holds", appliance.Certificate{NotAfter: now.Add(20 * day), Error: "down"}, "warning doctor.certificate-not-renewed"},
		{"the authority fails and it ends", appliance.Certificate{NotAfter: now.Add(day), Error: "down"}, "failure doctor.certificate-ending"},
		{"ended", appliance.Certificate{NotAfter: now, Error: "down"}, "failure doctor.certificate-expired"},
		{"never had one", appliance.Certificate{Error: "no such name"}, "failure doctor.certificate-none"},
		{"being fetched", appliance.Certificate{}, "notice doctor.certificate-waiting"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := ids(judgeCertificate(test.cert, now)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestJudgeName(t *testing.T) {
	cases := []struct {
		name       string
		found, own []string
		want       string
	}{
		{"points here", []string{"9.9.9.9", "203.0.113.5"}, []string{"203.0.113.5"}, ""},
		{"points elsewhere", []string{"9.9.9.9"}, []string{"10.0.0.2", "8.8.4.4"}, "warning doctor.dns-elsewhere"},
		{"behind a router nobody knows", []string{"9.9.9.9"}, []string{"192.168.1.7", "fe80::1"}, ""},
		{"does not exist", nil, []string{"8.8.4.4"}, "warning doctor.dns-missing"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := ids(judgeName("a.example", test.found, test.own)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestNewerKernel(t *testing.T) {
	cases := []struct {
		name, running string
		files         []string
		want          string
	}{
		{"a later revision", "6.1.0-9-amd64", []string{"/boot/vmlinuz-6.1.0-9-amd64", "/boot/vmlinuz-6.1.0-18-amd64"}, "6.1.0-18-amd64"},
		{"the newest runs", "6.1.0-18-amd64", []string{"/boot/vmlinuz-6.1.0-9-amd64", "/boot/vmlinuz-6.1.0-18-amd64"}, ""},
		{"a container runs the host's kernel", "6.12.1", []string{"/boot/vmlinuz-6.1.0-9-amd64"}, ""},
		{"no kernel", "6.12.1", nil, ""},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := newerKernel(test.running, test.files); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestReboot(t *testing.T) {
	root := t.TempDir()
	d := Doctor{Paths: appliance.Paths{Root: root}}
	write(t, root, "run/reboot-required", "*** System restart required ***\n")
	write(t, root, "run/reboot-required.pkgs", "linux-image-amd64\nlibc6\nlibc6\n")
	found, err := reboot(t.Context(), d)
	if err != nil || ids(found) != "notice doctor.reboot" || found[0].Args["reason"] != "libc6 linux-image-amd64" {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestUpdates(t *testing.T) {
	root := t.TempDir()
	write(t, root, "var/lib/apt/periodic/update-success-stamp", "")
	stamp := filepath.Join(root, "var/lib/apt/periodic/update-success-stamp")
	d := Doctor{Paths: appliance.Paths{Root: root}, Units: fixedUnits{"LoadState": "loaded", "Result": "exit-code"}}
	found, err := updates(t.Context(), d)
	if err != nil || ids(found) != "warning doctor.updates-failed" {
		t.Errorf("fresh lists, failed upgrade: got %s, %v", ids(found), err)
	}
	old := time.Now().Add(-73 * time.Hour)
	if err := os.Chtimes(stamp, old, old); err != nil {
		t.Fatal(err)
	}
	d.Units = fixedUnits{"LoadState": "loaded", "Result": "success"}
	if found, err = updates(t.Context(), d); err != nil || ids(found) != "warning doctor.updates-stale" {
		t.Errorf("old lists: got %s, %v", ids(found), err)
	}
}

func TestConfiguration(t *testing.T) {
	root := t.TempDir()
	d := Doctor{Paths: appliance.Paths{Root: root}}
	look := func() string {
		found, err := configuration(t.Context(), d)
		if err != nil {
			t.Error(err)
		}
		return ids(found)
	}
	if got := look(); got != "failure doctor.config-missing" {
		t.Errorf("no file: %s", got)
	}
	write(t, root, "etc/rochdale/rochdale.yaml", "schema: 1\ntls: {mode: magic}\n")
	if got := look(); got != "failure config.value" {
		t.Errorf("wrong value: %s", got)
	}
	write(t, root, "etc/rochdale/rochdale.yaml", "schema: 1\nstacks: {delivery: {domain: rides.example, aliases: [www.rides.example]}}\n")
	if got := look(); got != "" {
		t.Errorf("right file: %s", got)
	}
	if got := d.hosts(); !slices.Equal(got, []string{"rides.example", "www.rides.example"}) {
		t.Errorf("hosts: %v", got)
	}
}

func TestReconciled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		d := Doctor{Reconciled: reconciledAt(start)}
		time.Sleep(5 * time.Minute)
		if found, err := reconciled(t.Context(), d); err != nil || len(found) != 0 {
			t.Errorf("after 5 minutes: %v, %v", found, err)
		}
		time.Sleep(time.Second)
		if found, err := reconciled(t.Context(), d); err != nil || ids(found) != "failure doctor.reconcile-old" {
			t.Errorf("after more: %v, %v", found, err)
		}
		d.Reconciled = reconciledAt{}
		if found, _ := reconciled(t.Context(), d); ids(found) != "notice doctor.reconcile-never" {
			t.Errorf("never: %v", found)
		}
	})
}

// TestExamine looks at a machine where much is wrong: findings come in the order
// of their severity, one file system is told once, a check that can not look
// says so, and one that hangs does not hold up the others.
func TestExamine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := Doctor{
			Paths: appliance.Paths{Root: t.TempDir()}, Machine: sickMachine{}, Units: fixedUnits{"LoadState": "not-found"},
			Firewall: noFirewall{}, Engine: hangingEngine{}, Network: noNetwork{}, Watched: []string{"rochdale.service"},
		}
		got := ids(d.Findings(t.Context()))
		want := "failure doctor.config-missing, failure doctor.disk-full, failure doctor.unit-missing, " +
			"failure doctor.engine-silent, failure doctor.port-silent, failure doctor.port-silent, failure doctor.firewall-open, " +
			"warning doctor.check-failed, warning doctor.clock, notice backup.no-offsite"
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		// While it is being recovered nothing says that it should be installed, nor that
		// there is no copy elsewhere: it comes from one.
		write(t, d.Paths.Root, "var/lib/rochdale/recover/kit.json", "{}")
		got = ids(d.Findings(t.Context()))
		want = "failure doctor.disk-full, failure doctor.recovering, warning doctor.check-failed, warning doctor.clock"
		if got != want {
			t.Errorf("in a recovery: got  %s\nwant %s", got, want)
		}
	})
}

func TestWorst(t *testing.T) {
	if _, ok := Worst(nil); ok {
		t.Error("nothing has a severity")
	}
	if got, _ := Worst([]appliance.Finding{notice("a"), failure("b"), warning("c")}); got != appliance.Failure {
		t.Errorf("got %s", got)
	}
}

// TestLinux asks the real machine.
func TestLinux(t *testing.T) {
	var m Linux
	disk, err := m.Disk("/")
	if err != nil || disk.Total <= 0 || disk.Free > disk.Total || disk.ID == "" {
		t.Errorf("disk: %+v, %v", disk, err)
	}
	if _, err := m.Disk(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not there: %v", err)
	}
	if memory, err := m.Memory(); err != nil || memory.Total <= 0 || memory.Available > memory.Total {
		t.Errorf("memory: %+v, %v", memory, err)
	}
	if _, _, err := m.ClockSynced(); err != nil {
		t.Errorf("clock: %v", err)
	}
	if kernel, err := m.Kernel(); err != nil || kernel == "" {
		t.Errorf("kernel: %q, %v", kernel, err)
	}
	if up, err := m.Uptime(); err != nil || up <= 0 {
		t.Errorf("uptime: %v, %v", up, err)
	}
	own, err := (Net{}).Own()
	if err != nil || slices.Contains(own, "127.0.0.1") {
		t.Errorf("own addresses: %v, %v", own, err)
	}
}

func write(t *testing.T, root, path, content string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

type fixedUnits map[string]string

func (u fixedUnits) Show(context.Context, string, ...string) (map[string]string, error) {
	return u, nil
}

type reconciledAt time.Time

func (r reconciledAt) LastReconcile(context.Context) (time.Time, bool, error) {
	return time.Time(r), !time.Time(r).IsZero(), nil
}

type sickMachine struct{}

func (sickMachine) Disk(path string) (Disk, error)   { return Disk{ID: "1", Total: giga}, nil }
func (sickMachine) Memory() (Memory, error)          { return Memory{}, errors.New("no /proc") }
func (sickMachine) ClockSynced() (bool, bool, error) { return false, true, nil }
func (sickMachine) Kernel() (string, error)          { return "6.1.0", nil }
func (sickMachine) Uptime() (time.Duration, error)   { return time.Hour, nil }

type noFirewall struct{}

func (noFirewall) HasTable(context.Context, string, string) (bool, error) { return false, nil }
func (noFirewall) OpenTCP(context.Context, string, string) (host.Ports, error) {
	return nil, errors.New("no table")
}

type hangingEngine struct{}

func (hangingEngine) Info(ctx context.Context) (appliance.EngineInfo, error) {
	<-ctx.Done()
	return appliance.EngineInfo{}, ctx.Err()
}

type noNetwork struct{}

func (noNetwork) Lookup(context.Context, string) ([]string, error) { return nil, nil }
func (noNetwork) Own() ([]string, error)                           { return nil, nil }
func (noNetwork) Answers(context.Context, string) bool             { return false }
