// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/migrate"
	"rochdale/stacks"
)

// described is everything about a unit that locks it in, and what it is asked.
func described(t *testing.T, run host.Transient) string {
	t.Helper()
	asked := make([]byte, 1<<16)
	n, err := run.Stdin.Read(asked)
	if err != nil && n == 0 {
		t.Fatal(err)
	}
	text := strings.TrimSpace(string(asked[:n]))
	if strings.Contains(strings.Join(append(run.Properties, run.Args...), " "), "sesame") {
		t.Error("the password is in the command line")
	}
	return "unit: " + run.Unit + "\nprogram: " + run.Name + " " + strings.Join(run.Args, " ") + "\nasked: " + text + "\n" + strings.Join(run.Properties, "\n") + "\n"
}

// mixed is a generation with a database in a file, one in a server, and files.
func mixed(t *testing.T, generation int64) appliance.DataPlace {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte("sesame\n"), 0o600))
	dir := fmt.Sprintf("/stacks/delivery/data/%d/", generation)
	return appliance.DataPlace{
		Stack: "delivery", User: 65532, Generation: generation, Address: "172.18.0.2:5432", PasswordFile: password,
		Volumes: map[string]string{"data": dir + "data", "files": dir + "files"},
		Databases: map[string]stacks.Database{
			"main":  {Engine: "postgres", Service: "db", Name: "coop"},
			"queue": {Engine: "sqlite", Volume: "data", Path: "queue.db"},
		},
	}
}

// nobody is an engine without containers.
type nobody struct{}

func (nobody) List(context.Context, string) ([]appliance.Container, error) {
	return []appliance.Container{{ID: "db", Service: "db", State: "running", Address: "172.18.0.2"}}, nil
}

func (nobody) Stream(_ context.Context, _ string, p appliance.Program) error {
	if p.Out != nil {
		_, err := io.WriteString(p.Out, "PGDMP")
		return err
	}
	return nil
}

// TestDataCages holds everything that locks the children in against golden files.
func TestDataCages(t *testing.T) {
	facts := map[string]stacks.Fact{"jobs": {Database: "queue", SQL: "select count(*) from jobs"}}
	from, to := mixed(t, 1), mixed(t, 2)
	for verb, do := range map[string]func(d migrate.Data) error{
		"copy":  func(d migrate.Data) error { _, err := d.Copy(t.Context(), from, to, facts); return err },
		"files": func(d migrate.Data) error { _, err := d.CopyFiles(t.Context(), from, to); return err },
		"size":  func(d migrate.Data) error { _, err := d.Size(t.Context(), from); return err },
		"facts": func(d migrate.Data) error { _, err := d.Facts(t.Context(), from, facts); return err },
		"drop":  func(d migrate.Data) error { return d.Drop(t.Context(), to) },
		"snapshot": func(d migrate.Data) error {
			lite := from
			lite.Databases = map[string]stacks.Database{"queue": from.Databases["queue"]}
			_, err := d.Snapshot(t.Context(), lite, "/snapshots/one", facts)
			return err
		},
		"load": func(d migrate.Data) error {
			lite := to
			lite.Databases = map[string]stacks.Database{"queue": to.Databases["queue"]}
			return d.Load(t.Context(), "/snapshots/one", lite)
		},
	} {
		u := &units{states: []string{"inactive"}, answer: reportText(`{"schema":1,"done":{"facts":{"jobs":0}}}`)}
		must(t, do(migrate.NewData(u, "/usr/bin/rochdale", nobody{}, slog.New(slog.DiscardHandler))))
		if len(u.runs) != 1 || u.runs[0].Unit != migrate.DataUnit(verb, "delivery") {
			t.Fatalf("%s: %d units, the first is %s", verb, len(u.runs), u.runs[0].Unit)
		}
		golden(t, filepath.Join("testdata", "data-"+verb+".golden"), described(t, u.runs[0]))
	}
}

// TestHoldCage is the child that holds a view of a database in a server.
func TestHoldCage(t *testing.T) {
	into := filepath.Join(folder(t), "into")
	must(t, os.Mkdir(into, 0o700))
	place := mixed(t, 1)
	place.User = childUser()
	place.Databases = map[string]stacks.Database{"main": place.Databases["main"]}
	u := &units{states: []string{"inactive"}}
	u.answer = func(run int, x host.Transient) (host.Result, error) {
		if run == 1 {
			return host.Result{Stdout: []byte(`{"schema":1,"done":{}}`)}, nil
		}
		text := strings.ReplaceAll(described(t, x), fmt.Sprintf(`"user":%d`, childUser()), `"user":65532`)
		golden(t, filepath.Join("testdata", "data-hold.golden"), text)
		_, err := io.WriteString(x.Stdout, `{"schema":1,"done":{"exported":"0000-1","properties":{"limit":-1}}}`+"\n")
		must(t, err)
		_, err = io.Copy(io.Discard, x.Stdin) // until the dump is made
		return host.Result{}, err
	}
	s, err := migrate.NewData(u, "/usr/bin/rochdale", nobody{}, nil).Snapshot(t.Context(), place, into, nil)
	must(t, err)
	if s.Files["main"] != "main.dump" || s.Bytes != 5 || len(u.runs) != 2 {
		t.Errorf("%+v of %d runs", s, len(u.runs))
	}
}

// TestHoldWaitsForItsName finds the unit's name taken. The request is longer than
// a pipe holds, and the first child never reads it.
func TestHoldWaitsForItsName(t *testing.T) {
	into := filepath.Join(folder(t), "into")
	must(t, os.Mkdir(into, 0o700))
	place, facts, report := mixed(t, 1), map[string]stacks.Fact{}, map[string]int64{}
	place.User = childUser()
	place.Databases = map[string]stacks.Database{"main": place.Databases["main"]}
	for i := range 100 {
		name := fmt.Sprintf("fact-%d", i)
		facts[name], report[name] = stacks.Fact{Database: "main", SQL: "select 1 -- " + strings.Repeat("x", 1900)}, 1
	}
	done, err := json.Marshal(map[string]any{"schema": 1, "done": map[string]any{"exported": "0000-1", "facts": report, "properties": map[string]int{"limit": -1}}})
	must(t, err)
	u := &units{states: []string{"inactive"}}
	u.answer = func(run int, x host.Transient) (host.Result, error) {
		switch run {
		case 1:
			return host.Result{Stdout: []byte(`{"schema":1,"done":{}}`)}, nil
		case 2:
			return host.Result{}, errors.Join(host.ErrNotBegun, &host.ExitError{Code: 1, Stderr: "Unit " + x.Unit + " already exists"})
		}
		in := bufio.NewReader(x.Stdin)
		_, err := in.ReadString('\n')
		must(t, err)
		_, err = x.Stdout.Write(append(done, '\n'))
		must(t, err)
		_, err = io.Copy(io.Discard, in) // until the dump is made
		return host.Result{}, err
	}
	s, err := migrate.NewData(u, "/usr/bin/rochdale", nobody{}, nil).Snapshot(t.Context(), place, into, facts)
	must(t, err)
	if len(s.Facts) != 100 || len(u.runs) != 3 {
		t.Errorf("%d facts of %d runs", len(s.Facts), len(u.runs))
	}
}

func TestDataRefusesUnsafePlaces(t *testing.T) {
	u := &units{states: []string{"inactive"}, answer: reportText(`{"schema":1,"done":{}}`)}
	d := migrate.NewData(u, "/usr/bin/rochdale", nobody{}, nil)
	for name, spoil := range map[string]func(*appliance.DataPlace){
		"as root":               func(p *appliance.DataPlace) { p.User = 0 },
		"a stack with dots":     func(p *appliance.DataPlace) { p.Stack = "a/../b" },
		"a folder with a colon": func(p *appliance.DataPlace) { p.Volumes["data"] = "/data:/etc" },
		"a climbing folder":     func(p *appliance.DataPlace) { p.Volumes["files"] = "/data/../etc" },
		"a relative folder":     func(p *appliance.DataPlace) { p.Volumes["files"] = "data" },
		"a climbing volume":     func(p *appliance.DataPlace) { p.Volumes["../etc"] = "/etc" },
		"a path out": func(p *appliance.DataPlace) {
			p.Databases["queue"] = stacks.Database{Engine: "sqlite", Volume: "data", Path: "../../etc/passwd"}
		},
		"a database in no volume": func(p *appliance.DataPlace) {
			p.Databases["queue"] = stacks.Database{Engine: "sqlite", Volume: "photos", Path: "a.db"}
		},
		"a role with a quote": func(p *appliance.DataPlace) {
			p.Databases["main"] = stacks.Database{Engine: "postgres", Service: "db", Name: `coop"; drop`}
		},
		"no generation":      func(p *appliance.DataPlace) { p.Generation = 0 },
		"a host name":        func(p *appliance.DataPlace) { p.Address = "db:5432" },
		"no password":        func(p *appliance.DataPlace) { p.PasswordFile += "-none" },
		"an unknown engine":  func(p *appliance.DataPlace) { p.Databases["x"] = stacks.Database{Engine: "oracle"} },
		"a climbing name":    func(p *appliance.DataPlace) { p.Databases["../x"] = p.Databases["queue"] },
		"a request too long": func(p *appliance.DataPlace) { p.Volumes = many(p.Volumes) },
	} {
		p := mixed(t, 1)
		p.Volumes, p.Databases = maps.Clone(p.Volumes), maps.Clone(p.Databases)
		spoil(&p)
		if _, err := d.Size(t.Context(), p); err == nil {
			t.Errorf("%s: not refused", name)
		}
		if _, err := d.Copy(t.Context(), p, mixed(t, 2), nil); err == nil {
			t.Errorf("%s: not refused as what is copied", name)
		}
	}
	if len(u.runs) != 0 {
		t.Errorf("%d units were started", len(u.runs))
	}
}

func many(volumes map[string]string) map[string]string {
	for i := range 20_000 {
		volumes[fmt.Sprintf("volume-%d", i)] = "/volume"
	}
	return volumes
}

func TestDataReports(t *testing.T) {
	for name, c := range map[string]struct{ report, id string }{
		"nothing printed":     {"", "migrate.data-broken-off"},
		"a report of nothing": {`{"schema":1}`, "migrate.data-broken-off"},
		"a full disk":         {`{"schema":1,"failure":{"reason":"disk-full"}}`, "migrate.disk-full"},
		"a bad fact":          {`{"schema":1,"failure":{"reason":"bad-fact","name":"jobs"}}`, "migrate.fact-failed"},
		"damage":              {`{"schema":1,"failure":{"reason":"damaged"}}`, "migrate.damaged"},
		"no snapshot":         {`{"schema":1,"failure":{"reason":"no-snapshot"}}`, "migrate.no-snapshot"},
		"no copy":             {`{"schema":1,"failure":{"reason":"no-copy"}}`, "migrate.copy-failed"},
		"no database":         {`{"schema":1,"failure":{"reason":"no-database"}}`, "migrate.no-database"},
	} {
		u := &units{states: []string{"inactive"}, answer: reportText(c.report)}
		_, err := migrate.NewData(u, "/usr/bin/rochdale", nobody{}, nil).Size(t.Context(), mixed(t, 1))
		if !appliance.IsProblem(err, c.id) {
			t.Errorf("%s: %v, want %s", name, err, c.id)
		}
	}
}

// TestHaltStopsWhatWorks has one unit at work that ends when it is told to, and
// then one that does not.
func TestHaltStopsWhatWorks(t *testing.T) {
	u := &units{states: []string{"inactive", "active", "inactive"}}
	d := migrate.NewData(u, "/usr/bin/rochdale", nobody{}, nil)
	must(t, d.Halt(t.Context(), "delivery"))
	if len(u.stopped) != 1 || u.stopped[0] != migrate.DataUnit("copy", "delivery") {
		t.Errorf("stopped were %v", u.stopped)
	}
	u = &units{states: []string{"active"}}
	if err := migrate.NewData(u, "/usr/bin/rochdale", nobody{}, nil).Halt(t.Context(), "delivery"); err == nil || u.stopped[0] != migrate.UnitName("delivery") {
		t.Errorf("a unit that goes on: %v, %v", err, u.stopped)
	}
}
