// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package engine_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/engine"
	"rochdale/stacks"
)

// TestRealPostgres runs the machine's own PostgreSQL in the cage that every
// service of a stack gets, and lets another container go on with its files.
func TestRealPostgres(t *testing.T) {
	e := realEngine(t)
	bin := postgresPrograms(t)
	s := newSpec(t, e, "rows", "postgres", bin)
	ref, err := e.Load(t.Context(), makeImage(t, "postgres", postgresFiles(t, bin)))
	must(t, err)
	s.Image, s.Service.Name, s.Service.Memory, s.Service.Shared, s.Generation = ref, "db", 256<<20, true, 0
	s.Service.StopSignal = "SIGINT"
	s.Service.Tmpfs = []stacks.Tmpfs{{Target: "/tmp", Size: 16 << 20}, {Target: "/run/postgresql", Size: 1 << 20}}
	s.Service.Health = &stacks.Health{Test: []string{bin + "/pg_isready", "-h", "127.0.0.1"}, Interval: 5 * time.Second, Timeout: 3 * time.Second, Retries: 5}
	s.Service.Mounts = []stacks.Mount{{Volume: "rows", Target: "/rows"}}
	rows, secret := filepath.Join(t.TempDir(), "rows"), filepath.Join(t.TempDir(), "database-password")
	must(t, os.Mkdir(rows, 0o700))
	must(t, os.WriteFile(secret, []byte("open sesame"), 0o400))
	must(t, os.Chown(rows, s.User, s.User))
	must(t, os.Chown(secret, s.User, s.User))
	s.Volumes, s.Secrets = map[string]string{"rows": rows}, map[string]string{"database-password": secret}

	c := postgresRuns(t, e, s)
	query(t, bin, c, "open sesame", "create table members (name text); insert into members values ('Ada')")
	if out, err := ask(bin, c, "another", "select 1"); err == nil {
		t.Errorf("a wrong password was taken: %s", out)
	}
	if text := logs(t, e, c.ID, appliance.LogOptions{}); strings.Contains(text, "open sesame") || !strings.Contains(text, "ready to accept connections") {
		t.Errorf("log %s", text)
	}
	streams(t, e, c, bin)
	endsSessions(t, e, c, bin)
	must(t, e.Remove(t.Context(), c.ID))
	s.Suffix = appliance.NewSuffix()
	c = postgresRuns(t, e, s)
	if got := query(t, bin, c, "open sesame", "select name from members"); got != "Ada" {
		t.Errorf("the next container has the rows %q", got)
	}
}

// endsSessions stops the server while somebody asks it something. The service's signal
// makes it end the session; SIGTERM would make it wait until it is killed.
func endsSessions(t *testing.T, e *engine.Engine, c appliance.Container, bin string) {
	t.Helper()
	var wait sync.WaitGroup
	wait.Go(func() { _, _ = ask(bin, c, "open sesame", "select pg_sleep(600)") })
	for range 200 {
		if query(t, bin, c, "open sesame", "select count(*) from pg_stat_activity where query like 'select pg_sleep%'") != "0" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	must(t, e.Stop(t.Context(), c.ID, 30*time.Second))
	wait.Wait()
	if now := only(t, e, "rows"); now.ExitCode != 0 {
		t.Errorf("ended with %+v", now)
	}
	if text := logs(t, e, c.ID, appliance.LogOptions{}); !strings.Contains(text, "received fast shutdown request") {
		t.Errorf("log %s", text)
	}
}

// streams takes a dump out of the container and brings it back into another
// database, without a file in it. All that it writes, rows and log, stays well
// below the limit of memory: with cgroup v1, as in a machine of these tests, the
// kernel kills a writer whose pages wait for a busy disk; only v2 slows it down.
func streams(t *testing.T, e *engine.Engine, c appliance.Container, bin string) {
	t.Helper()
	run := func(in io.Reader, out io.Writer, argv ...string) error {
		return e.Stream(t.Context(), c.ID, appliance.Program{Argv: argv, Env: map[string]string{"PGPASSWORD": "open sesame"}, In: in, Out: out})
	}
	query(t, bin, c, "open sesame", "create table large as select i, repeat('text', 100) as text from generate_series(1, 40000) i")
	query(t, bin, c, "open sesame", "create database other")
	var dump bytes.Buffer
	must(t, run(nil, &dump, bin+"/pg_dump", "-h", c.Address, "-U", "coop", "-w", "-Fc", "-Z0", "-d", "postgres"))
	if dump.Len() < 15<<20 {
		t.Errorf("a dump of %d bytes", dump.Len())
	}
	must(t, run(bytes.NewReader(dump.Bytes()), nil, bin+"/pg_restore", "--file=/dev/null"))
	must(t, run(bytes.NewReader(dump.Bytes()), nil, bin+"/pg_restore", "-h", c.Address, "-U", "coop", "-w", "--exit-on-error", "-d", "other"))
	var count bytes.Buffer
	must(t, run(nil, &count, bin+"/psql", "-h", c.Address, "-U", "coop", "-w", "-XAt", "-d", "other", "-c", "select count(*) from large"))
	if count.String() != "40000\n" {
		t.Errorf("restored were %q rows", count.String())
	}
	half := bytes.NewReader(dump.Bytes()[:dump.Len()/2])
	err := run(half, nil, bin+"/pg_restore", "--file=/dev/null")
	wantProblem(t, err, "engine.program-failed")
	t.Log(err)
	query(t, bin, c, "open sesame", "drop table large")
}

func postgresRuns(t *testing.T, e *engine.Engine, s appliance.ContainerSpec) appliance.Container {
	t.Helper()
	c, err := e.Start(t.Context(), s)
	must(t, err)
	if err := e.WaitHealthy(t.Context(), c.ID); err != nil {
		t.Fatalf("%v: %s", err, logs(t, e, c.ID, appliance.LogOptions{}))
	}
	return only(t, e, "rows")
}

func ask(bin string, c appliance.Container, password, text string) (string, error) {
	cmd := exec.Command(bin+"/psql", "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-h", c.Address, "-U", "coop", "-d", "postgres", "-c", text)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func query(t *testing.T, bin string, c appliance.Container, password, text string) string {
	t.Helper()
	out, err := ask(bin, c, password, text)
	if err != nil {
		t.Fatalf("%s: %v: %s", text, err, out)
	}
	return out
}

func postgresPrograms(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Fatal("the machine has no PostgreSQL", err)
	}
	return filepath.Dir(found[0])
}

// postgresFiles are the machine's PostgreSQL with all that it is linked to, the
// shell that initdb calls, and this test binary.
func postgresFiles(t *testing.T, bin string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"etc/passwd": []byte("coop:x:65532:65532::/:/bin/sh\n")}
	add := func(as, path string) {
		data, err := os.ReadFile(path)
		must(t, err)
		files[strings.TrimPrefix(as, "/")] = data
	}
	self, err := os.Executable()
	must(t, err)
	add("service", self)
	add("bin/sh", "/bin/dash")
	linked := []string{"/bin/dash"}
	for _, name := range []string{"initdb", "postgres", "pg_isready", "pg_dump", "pg_restore", "psql"} {
		add(bin+"/"+name, bin+"/"+name)
		linked = append(linked, bin+"/"+name)
	}
	version := filepath.Base(filepath.Dir(bin))
	for _, dir := range []string{"/usr/lib/postgresql/" + version + "/lib", "/usr/share/postgresql/" + version} {
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.Contains(path, "/bitcode/") && !strings.Contains(path, "llvmjit") {
				add(path, path)
			}
			return err
		}))
	}
	out, err := exec.Command("ldd", linked...).Output()
	must(t, err)
	for line := range bytes.Lines(out) {
		for _, word := range strings.Fields(string(line)) {
			if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") {
				add(word, word)
			}
		}
	}
	return files
}
