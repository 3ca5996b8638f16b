// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

const lostConfig = `schema: 1
language: es
email: eva@rides.example
tls: {mode: internal}
stacks:
  delivery: {domain: rides.example}
updates: {reboot: "04:10"}
backups:
  repositories:
    offsite: {url: "sftp:rides@backup.example:/srv/rides"}
`

var kitIssued = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func exampleLegacy() Legacy {
	return Legacy{
		Kit: "sum of the kit", Issued: kitIssued, Serial: 7, Epoch: 2, Recipient: "age1pages", Configuration: lostConfig,
		Files: map[string][]byte{
			"/etc/rochdale/backups/offsite.password": []byte("a password\n"),
			"/root/.ssh/id_ed25519":                  []byte("a key\n"),
			"/root/.ssh/known_hosts":                 []byte("one ssh-ed25519 AAAA\nbackup.example ssh-ed25519 BBBB\n"),
		},
	}
}

// backupsTwin is what a lost machine has left, and the daemon of the new one.
type backupsTwin struct {
	paths     appliance.Paths
	made      time.Time
	config    string
	env       string // the credentials of the repository elsewhere
	record    appliance.RecoveryRecord
	adopted   []byte
	epoch     int64
	recovered []string
	missed    []string
	// kill ends the process in the middle of the verb.
	kill string
	end  func()
}

var (
	_ Rescue = (*backupsTwin)(nil)
	_ Box    = (*backupsTwin)(nil)
)

var errKilled = errors.New("the process was ended")

func (b *backupsTwin) killed(verb string) error {
	if b.kill != verb {
		return nil
	}
	b.kill = ""
	b.end()
	return errKilled
}

func (b *backupsTwin) Find(context.Context) (appliance.RescuePoint, error) {
	return appliance.RescuePoint{Repository: "offsite", Snapshot: strings.Repeat("ab", 32), Made: b.made}, b.killed("find")
}

func (b *backupsTwin) Fetch(_ context.Context, p appliance.RescuePoint, into string) error {
	if p.Repository != "offsite" {
		return errors.New("another repository")
	}
	if err := os.RemoveAll(into); err != nil {
		return err
	}
	manifest, err := json.Marshal(appliance.BackupManifest{Schema: 1, Kind: appliance.BackupDump, Made: b.made, Stacks: map[string]appliance.StackBackup{"delivery": {}}})
	if err != nil {
		return err
	}
	record, err := json.Marshal(b.record)
	if err != nil {
		return err
	}
	stage, edge := b.paths.Stage(appliance.BackupDump), b.paths.Edge()
	for _, f := range []struct {
		path string
		data []byte
	}{
		{b.paths.Config(), []byte(b.config)}, {b.paths.Recovery(), record}, {b.paths.FirewallFolder() + "/own.nft", []byte("rules")},
		{b.paths.RepositoryPassword("offsite"), []byte("an older password")}, {edge + "/caddy/certificates/ca/rides.example.crt", []byte("a certificate")},
		{b.paths.RepositoryEnv("offsite"), []byte(b.env)}, {edge + "/caddy/locks/x", []byte("1")}, {edge + "/routes.json", []byte("{}")},
		{stage + "/state.db", []byte("a memory")}, {stage + "/manifest.json", manifest},
	} {
		at := filepath.Join(into, f.path)
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(f.path, "own.nft") {
			mode = 0o711 // whoever forged the snapshot would like it to run
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, f.data, mode)); err != nil {
			return err
		}
		if strings.HasSuffix(f.path, "own.nft") {
			if err := b.killed("fetch"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *backupsTwin) Adopt(_ context.Context, file string) (err error) {
	b.adopted, err = os.ReadFile(file)
	return errors.Join(err, b.killed("history"))
}

func (b *backupsTwin) TakeOver(_ context.Context, epoch int64) ([]string, error) {
	b.epoch = epoch + 1
	return b.missed, b.killed("owner")
}

func (b *backupsTwin) Recover(_ context.Context, stack string, p appliance.RescuePoint, report func(string)) error {
	if err := b.killed("stacks"); err != nil {
		return err
	}
	report("load")
	if !slices.Contains(b.recovered, stack+p.Repository) {
		b.recovered = append(b.recovered, stack+p.Repository)
	}
	return nil
}

func (b *backupsTwin) Ready(context.Context) error                               { return nil }
func (b *backupsTwin) Apply(context.Context, string, string, func(string)) error { return nil }
func (b *backupsTwin) FirstAdmin(context.Context, string) (string, error) {
	return "", b.killed("end")
}
func (b *backupsTwin) Findings(context.Context) ([]appliance.Finding, error) { return nil, nil }

// noJournal keeps nothing: what a step finds on the machine is all that it has.
type noJournal struct{}

func (noJournal) Open(context.Context, string, string, time.Time) (string, bool, error) {
	return "01JOB", false, nil
}
func (noJournal) Record(context.Context, step.Event) error                     { return nil }
func (noJournal) Close(context.Context, string, step.Outcome, time.Time) error { return nil }

// dyingDisk ends the process at one of its calls.
type dyingDisk struct {
	host.Disk
	left int
	end  func()
}

func (d *dyingDisk) dies() bool {
	d.left--
	if d.left == 0 {
		d.end()
	}
	return d.left <= 0
}

func (d *dyingDisk) Create(path string, data io.Reader, a host.Attr) error {
	if d.dies() {
		return errKilled
	}
	return d.Disk.Create(path, data, a)
}

func (d *dyingDisk) Rename(from, to string) error {
	if d.dies() {
		return errKilled
	}
	return d.Disk.Rename(from, to)
}

func (d *dyingDisk) Remove(path string) error {
	if d.dies() {
		return errKilled
	}
	return d.Disk.Remove(path)
}

func (d *dyingDisk) Mkdir(path string, a host.Attr) error {
	if d.dies() {
		return errKilled
	}
	return d.Disk.Mkdir(path, a)
}

// newBackups is what a machine left that was saved an hour after its kit was issued.
func newBackups(p appliance.Paths) *backupsTwin {
	return &backupsTwin{
		paths: p, made: kitIssued.Add(time.Hour), config: strings.Replace(lostConfig, "eva@", "eve@", 1),
		record: appliance.RecoveryRecord{Schema: 1, Recipient: "age1pages", Set: "abc", Need: 2, Of: 3, Printed: kitIssued.Add(-time.Hour),
			Kit: appliance.SealedKit{Serial: 6}, Checks: json.RawMessage(`{"a":1}`), Published: map[string]int64{"offsite": 6},
			IDs: map[string]string{"box": "of the lost one", "offsite": "abc"}},
	}
}

// rescued runs the steps that are a recovery's own, as a new process.
func rescued(ctx context.Context, t *testing.T, d Deps, b *backupsTwin) (*recovery, error) {
	t.Helper()
	f := good()
	f.Program.Digest = strings.Repeat("ab", 32)
	r, err := newRecovery(RecoverOptions(appliance.Config{}, asked()), f, d, exampleLegacy())
	if err != nil {
		t.Fatal(err)
	}
	r.rescue, r.Box = b, b
	r.edgeOwner = func() (host.Attr, error) { return ours(0), nil }
	plan := step.Plan{Name: "recover"}
	own := []string{"state", "keys", "find", "fetch", "box", "certificates", "history", "owner", "stacks", "end"}
	for _, s := range r.plan().Steps {
		if slices.Contains(own, s.ID) {
			plan.Steps = append(plan.Steps, s)
		}
	}
	if len(plan.Steps) != len(own) {
		t.Fatalf("%d steps", len(plan.Steps))
	}
	return r, plan.Run(ctx, noJournal{}, nil)
}

func bareMachine(t *testing.T) (Deps, *backupsTwin) {
	t.Helper()
	d := Deps{Paths: appliance.Paths{Root: t.TempDir()}, Files: host.NewFiles(), Runner: asksOnly{}}
	if err := Prepare(d); err != nil {
		t.Fatal(err)
	}
	return d, newBackups(d.Paths)
}

// becameTheLostOne looks at everything that a recovery brings.
func becameTheLostOne(t *testing.T, d Deps, r *recovery, b *backupsTwin) {
	t.Helper()
	p := d.Paths
	for path, want := range map[string]string{
		p.RepositoryPassword("offsite"):                       "a password\n",
		filepath.Join(p.Root, "root/.ssh/id_ed25519"):         "a key\n",
		filepath.Join(p.Root, "root/.ssh/known_hosts"):        "one ssh-ed25519 AAAA\nbackup.example ssh-ed25519 BBBB\n",
		p.FirewallFolder() + "/own.nft":                       "rules",
		p.Edge() + "/caddy/certificates/ca/rides.example.crt": "a certificate",
	} {
		data, err := os.ReadFile(path)
		if err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", path, data, err)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	for _, path := range []string{p.Edge() + "/caddy/locks", p.Edge() + "/routes.json", p.Rescue()} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	if r.config.Email != "eve@rides.example" || r.o.Email != "eve@rides.example" || r.o.Reboot != "04:10" || r.result.URL != "https://rides.example/" || r.result.RootURL == "" {
		t.Errorf("it goes by %+v, %+v", r.config, r.result)
	}
	if from := r.result.Restored; from == nil || from.Repository != "offsite" || !from.Made.Equal(b.made) {
		t.Errorf("it says that it restored %+v", from)
	}
	record, err := appliance.ReadRecovery(p)
	if err != nil || record.Recipient != "age1pages" || record.Kit.Serial != 7 || len(record.Published) != 0 || record.Need != 2 || !bytes.Contains(record.Checks, []byte(`"a"`)) {
		t.Errorf("%+v, %v", record, err)
	}
	// A repository that nobody ever opened here would keep every kit from being made.
	if len(record.IDs) != 1 || record.IDs["offsite"] != "abc" {
		t.Errorf("it knows of the repositories %v", record.IDs)
	}
	if string(b.adopted) != "a memory" || b.epoch != 3 || !slices.Equal(b.recovered, []string{"deliveryoffsite"}) {
		t.Errorf("adopted %q, epoch %d, recovered %v", b.adopted, b.epoch, b.recovered)
	}
	if one, err := ReadRecord(p); err != nil || one == nil || one.Finished.IsZero() || one.Domain != "rides.example" || one.Recovered != "sum of the kit" {
		t.Errorf("%+v, %v", one, err)
	}
}

func TestRecoveryPlan(t *testing.T) {
	d, b := bareMachine(t)
	f := good()
	f.SSHClient = true
	config, err := exampleLegacy().Config()
	if err != nil {
		t.Fatal(err)
	}
	o := RecoverOptions(config, Options{Version: "1.2.0", Program: "/root/rochdale"})
	if o.Stack != "delivery" || o.Domain != "rides.example" || o.TLS != "internal" || o.Language != "es" || !slices.Contains(o.Stacks, "delivery") {
		t.Errorf("%+v", o)
	}
	plan, result, err := PlanRecovery(o, f, d, exampleLegacy(), b)
	if err != nil || plan.Validate() != nil || result.URL != "https://rides.example/" {
		t.Fatal(err, plan.Validate(), result)
	}
	var ids, installs []string
	for _, s := range plan.Steps {
		ids = append(ids, s.ID)
		for _, e := range s.Effects {
			if e.Kind == "installs" {
				installs = append(installs, e.What)
			}
		}
	}
	want := "state program keys engine-config packages engine users folders clock find fetch box configuration firewall updates units " +
		"certificates history owner edge daemon stacks certificate end"
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("the steps are %s", got)
	}
	if !slices.Contains(installs, "openssh-client") {
		t.Errorf("installs %v", installs)
	}
	if entries, err := os.ReadDir(d.Paths.Var()); err != nil || len(entries) > 0 {
		t.Errorf("the plan alone changed something: %v, %v", entries, err)
	}
}

func TestRecoveryBringsEverything(t *testing.T) {
	d, b := bareMachine(t)
	r, err := rescued(t.Context(), t, d, b)
	if err != nil {
		t.Fatal(err)
	}
	becameTheLostOne(t, d, r, b)
}

// TestRecoveryIsKilled ends the process in the middle of each step's work outside,
// and then at each of its calls to the disk. The next run ends as one run would.
func TestRecoveryIsKilled(t *testing.T) {
	again := func(t *testing.T, d Deps, b *backupsTwin) {
		t.Helper()
		d.Files = host.NewFiles()
		r, err := rescued(t.Context(), t, d, b)
		if err != nil {
			t.Fatal(err)
		}
		becameTheLostOne(t, d, r, b)
	}
	for _, verb := range []string{"find", "fetch", "history", "owner", "stacks", "end"} {
		t.Run(verb, func(t *testing.T) {
			d, b := bareMachine(t)
			ctx, cancel := context.WithCancel(t.Context())
			b.kill, b.end = verb, cancel
			if _, err := rescued(ctx, t, d, b); !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if kept, err := ReadLegacy(d.Paths); err != nil || kept == nil || kept.Recipient != "age1pages" {
				t.Errorf("nobody wants to type the pages again: %+v, %v", kept, err)
			}
			again(t, d, b)
		})
	}
	n := 1
	for ; ; n++ {
		d, b := bareMachine(t)
		ctx, cancel := context.WithCancel(t.Context())
		d.Files = host.Files{Disk: &dyingDisk{Disk: host.OS{}, left: n, end: cancel}}
		_, err := rescued(ctx, t, d, b)
		cancel()
		if err == nil {
			break
		}
		again(t, d, b)
	}
	if n < 20 {
		t.Errorf("only %d calls to the disk", n)
	}
}

// TestRecoveryGoesByTheNewer of two documents.
func TestRecoveryGoesByTheNewer(t *testing.T) {
	d, b := bareMachine(t)
	b.made = kitIssued.Add(-time.Hour)
	b.missed = []string{"box", "offsite"}
	b.record.Recipient, b.record.Printed = "age1older", kitIssued.Add(-48*time.Hour)
	r, err := rescued(t.Context(), t, d, b)
	if err != nil || r.config.Email != "eva@rides.example" {
		t.Errorf("%+v, %v", r.config, err)
	}
	record, err := appliance.ReadRecovery(d.Paths)
	if err != nil || record.Recipient != "age1pages" || record.Kit.Serial != 7 || len(record.Checks) != 0 {
		t.Errorf("%+v, %v", record, err)
	}
	if len(r.result.Findings) != 1 || r.result.Findings[0].ID != "recover.not-owned" {
		t.Errorf("findings %+v", r.result.Findings)
	}
}

// TestRecoveryFromAForgedSnapshot: where the snapshots are the kit says, and whoever
// forged the one could forge the other. They run no program either.
func TestRecoveryFromAForgedSnapshot(t *testing.T) {
	for env, want := range map[string]string{
		"AWS_REGION=eu\n": "",
		"AWS_REGION=eu\nLD_PRELOAD=/etc/rochdale/x\n":              "LD_PRELOAD",
		"AWS_REGION=eu\rLD_PRELOAD=/etc/rochdale/x\n":              "?",
		"# ours\rLD_PRELOAD=/etc/rochdale/x\n":                     "?",
		"AWS_REGION=eu\n#" + strings.Repeat("x", 64<<10):           "?",
		"AWS_REGION=eu\n#" + strings.Repeat("x", 64<<10-16) + "\n": "",
	} {
		d, b := bareMachine(t)
		b.config = strings.Replace(b.config, `rides"}`, `rides", options: ["sftp.command=/bin/x", "sftp.connections=2"]}`, 1)
		b.env = env
		r, err := rescued(t.Context(), t, d, b)
		if err != nil {
			t.Fatal(err)
		}
		if o := r.config.Backups.Repositories["offsite"].Options; r.config.Email != "eve@rides.example" || !slices.Equal(o, []string{"sftp.connections=2"}) {
			t.Errorf("it goes by %+v", r.config)
		}
		var left []string
		for _, f := range r.result.Findings {
			left = append(left, f.ID+" "+f.Args["option"])
		}
		all := []string{"recover.option-left-out sftp.command"}
		if want != "" {
			all = []string{"recover.option-left-out " + want, all[0]}
		}
		if !slices.Equal(left, all) {
			t.Errorf("%.60q: findings %q", env, left)
		}
		if data, err := os.ReadFile(d.Paths.RepositoryEnv("offsite")); (err == nil && string(data) == env) != (want == "") {
			t.Errorf("credentials %.60q, %v", data, err)
		}
	}
}

// TestRecoveryWithABetterKit chooses and fetches anew, and nothing of the older kit is in
// the way, wherever the change from one to the other is cut off.
func TestRecoveryWithABetterKit(t *testing.T) {
	for n := range 20 {
		d, b := bareMachine(t)
		older := exampleLegacy()
		older.Schema, older.Kit = 1, "an older one"
		key, password, mine := "/etc/rochdale/keys/older", "/etc/rochdale/backups/offsite.password", "/etc/rochdale/keys/mine"
		older.Files[key], older.Files[password], older.Files[mine] = []byte("an older key"), []byte("an older password\n"), []byte("an older key")
		person := "/etc/rochdale/keys/person" // had the same before
		older.Files[person] = []byte("an older key")
		older.Laid = []string{key, password, mine}
		r := &recovery{install: &install{Deps: d}}
		if err := errors.Join(r.keepJSON("kit.json", older), r.keepJSON(pointFile, appliance.RescuePoint{Repository: "gone"})); err != nil {
			t.Fatal(err)
		}
		for path, content := range older.Files {
			if path == mine {
				content = []byte("mine by now!")
			}
			if err := errors.Join(os.MkdirAll(filepath.Dir(r.real(path)), 0o700), os.WriteFile(r.real(path), content, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if n > 0 {
			ctx, cancel := context.WithCancel(t.Context())
			d.Files = host.Files{Disk: &dyingDisk{Disk: host.OS{}, left: n, end: cancel}}
			if _, err := rescued(ctx, t, d, b); err == nil {
				t.Errorf("it ends at call %d to the disk", n)
			}
			cancel()
			d.Files = host.NewFiles()
		}
		fresh, err := rescued(t.Context(), t, d, b)
		if err != nil {
			t.Fatal(n, err)
		}
		becameTheLostOne(t, d, fresh, b)
		if _, err := os.Lstat(r.real(key)); err == nil {
			t.Errorf("%d: a key of the older kit is left", n)
		}
		if data, err := os.ReadFile(r.real(mine)); err != nil || string(data) != "mine by now!" {
			t.Errorf("%d: what somebody has changed is %q, %v", n, data, err)
		}
		if data, err := os.ReadFile(r.real(person)); err != nil || string(data) != "an older key" {
			t.Errorf("%d: what was there before is %q, %v", n, data, err)
		}
	}
}

// TestRecoveryWritesOverNothing of whoever uses the machine already.
func TestRecoveryWritesOverNothing(t *testing.T) {
	for file, want := range map[string]string{"known_hosts": "", "id_ed25519": "recover.file-differs"} {
		d, b := bareMachine(t)
		path := filepath.Join(d.Paths.Root, "root/.ssh", file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("mine\none ssh-ed25519 AAAA"), 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err := rescued(t.Context(), t, d, b)
		if want == "" && err != nil || want != "" && !appliance.IsProblem(err, want) {
			t.Errorf("%s: %v", file, err)
		}
		data, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(data), "mine\n") || strings.Count(string(data), "one ssh") != 1 {
			t.Errorf("%s is now %q, %v", file, data, err)
		}
		if file == "known_hosts" && !strings.Contains(string(data), "backup.example") {
			t.Errorf("nothing was added: %q", data)
		}
	}
}
