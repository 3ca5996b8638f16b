// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what came out as what is expected")

const goodManifest = `schema: 1
name: good
version: 1.0.0
title: {en: Good}
web: {service: web, port: 8080, health: /}
user: 2000
needs: {memory: 64M, disk: 10M}
`

const goodCompose = `services:
  web:
    image: web
`

func folder(manifest, compose string) fstest.MapFS {
	return fstest.MapFS{ManifestFile: {Data: []byte(manifest)}, ComposeFile: {Data: []byte(compose)}}
}

// TestProblems reads stacks with mistakes from archives in testdata; each lists
// the problems that must be found, and a file that it leaves out is good.
func TestProblems(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := folder(goodManifest, goodCompose)
			want := ""
			for _, f := range archive.Files {
				if f.Name == "problems" {
					want = string(f.Data)
					continue
				}
				files[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			got := problemsOf(t, files)
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "problems" })
				archive.Files = append(archive.Files, txtar.File{Name: "problems", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// problemsOf gives the problems, one a line, and checks that each has a text
// with everything filled in.
func problemsOf(t *testing.T, files fstest.MapFS) string {
	t.Helper()
	_, err := Parse(files)
	var bad *Invalid
	if err == nil || !errors.As(err, &bad) {
		t.Fatalf("got %v, want problems", err)
	}
	for _, p := range bad.Problems {
		if text := p.Error(); strings.Contains(text, "stack.problem") || strings.Contains(text, "{") && !strings.Contains(text, "${") {
			t.Errorf("%s has the text %q", p.ID, text)
		}
	}
	return err.Error() + "\n"
}

func TestBrokenFiles(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c < 'k'; c++ {
		fmt.Fprintf(&bomb, "%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, c := range map[string]struct{ content, id string }{
		"empty":          {"", "empty"},
		"only a comment": {"# nothing\n", "empty"},
		"tab":            {"services:\n\tweb: 1\n", "yaml"},
		"open bracket":   {"services: [", "yaml"},
		"two documents":  {"services: {}\n---\nservices: {}\n", "documents"},
		"alias":          {"x: &a 1\ny: *a\n", "alias"},
		"alias bomb":     {bomb.String(), "alias"},
		"alias of self":  {"a: &a [*a]\n", "alias"},
		"merge":          {"a: {<<: {b: 1}}\n", "alias"},
		"tag":            {"services: !reset {}\n", "tag"},
		"binary":         {"services: !!binary aGVsbG8=\n", "tag"},
		"not text":       {"\xff\xfe\x00", "yaml"},
		"large":          {strings.Repeat("# long\n", 50_000), "file-size"},
		"many values":    {"services: [" + strings.Repeat("1,", 20_000) + "1]\n", "nodes"},
		"deep":           {strings.Repeat("[", 20_000), "yaml"},
		"list":           {"- services\n", "want-mapping"},
		"text":           {"services\n", "want-mapping"},
	} {
		for _, file := range []string{ManifestFile, ComposeFile} {
			files := folder(goodManifest, goodCompose)
			files[file] = &fstest.MapFile{Data: []byte(c.content)}
			if got := problemsOf(t, files); !strings.Contains(got, file) {
				t.Errorf("%s: %s is not named in %q", name, file, got)
			}
			_, err := Parse(files)
			if !hasProblem(err, file, c.id) {
				t.Errorf("%s in %s: got %v, want %s", name, file, err, c.id)
			}
		}
	}
	for _, file := range []string{ManifestFile, ComposeFile} {
		files := folder(goodManifest, goodCompose)
		delete(files, file)
		if _, err := Parse(files); !hasProblem(err, file, "file-missing") {
			t.Errorf("without %s: %v", file, err)
		}
	}
}

func hasProblem(err error, file, id string) bool {
	var bad *Invalid
	return errors.As(err, &bad) && slices.ContainsFunc(bad.Problems, func(p Problem) bool {
		return p.File == file && p.ID == "stack.problem."+id
	})
}

// TestEveryOtherKeyIsRefused takes the keys of the Compose specification from
// the library, so that one that it learns is refused until somebody decides.
func TestEveryOtherKeyIsRefused(t *testing.T) {
	guide, err := os.ReadFile("../docs/contributing.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{
		"image", "entrypoint", "command", "environment", "volumes", "tmpfs", "read_only",
		"mem_limit", "cpus", "pids_limit", "healthcheck", "depends_on", "stop_grace_period", "stop_signal",
	}
	for _, key := range allowed {
		if !strings.Contains(string(guide), "`"+key+"`") {
			t.Errorf("%s is not in the guide", key)
		}
	}
	service := yamlKeys(reflect.TypeFor[types.ServiceConfig]())
	if len(service) < 80 {
		t.Fatalf("the library lists only %v", service)
	}
	for _, key := range service {
		if slices.Contains(allowed, key) {
			continue
		}
		_, err := Parse(folder(goodManifest, goodCompose+"    "+key+": 1\n"))
		wantOne(t, err, key, 4)
	}
	for _, key := range yamlKeys(reflect.TypeFor[types.Project]()) {
		if key != "services" && key != "volumes" {
			_, err := Parse(folder(goodManifest, goodCompose+key+": 1\n"))
			wantOne(t, err, key, 4)
		}
	}
}

func yamlKeys(t reflect.Type) (keys []string) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			keys = append(keys, yamlKeys(f.Type)...)
		}
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if key != "" && key != "-" && !strings.HasPrefix(key, "#") {
			keys = append(keys, key)
		}
	}
	return keys
}

func wantOne(t *testing.T, err error, key string, line int) {
	t.Helper()
	var bad *Invalid
	if !errors.As(err, &bad) || len(bad.Problems) != 1 || bad.Problems[0].Line != line {
		t.Errorf("%s: got %v, want one problem in line %d", key, err, line)
	}
}

func TestDefaults(t *testing.T) {
	got, err := Parse(folder(goodManifest, goodCompose))
	if err != nil {
		t.Fatal(err)
	}
	want := []Service{{
		Name: "web", Image: "web", Env: map[string]string{}, Mounts: []Mount{},
		Memory: 128 << 20, CPUs: 1, PIDs: 256, StopGrace: 10 * time.Second,
	}}
	if !reflect.DeepEqual(got.Services, want) {
		t.Errorf("got %+v, want %+v", got.Services, want)
	}
}

// TestFormOfAService: the box knows a database server that runs by this form of its
// service. With another one each would be replaced when Rochdale is updated.
func TestFormOfAService(t *testing.T) {
	const want = `{"Name":"","Image":"","Entrypoint":null,"Command":null,"Env":null,` +
		`"Mounts":[{"Volume":"","Target":"","ReadOnly":false}],"Tmpfs":[{"Target":"","Size":0}],"Memory":0,"CPUs":0,"PIDs":0,` +
		`"Health":{"Test":null,"Interval":0,"Timeout":0,"StartPeriod":0,"Retries":0},"DependsOn":null,"StopGrace":0,"Shared":false}`
	if got, err := json.Marshal(Service{Mounts: []Mount{{}}, Tmpfs: []Tmpfs{{}}, Health: &Health{}}); err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestServicesOfAStackOnPostgreSQL(t *testing.T) {
	got, err := Parse(os.DirFS("testdata/postgres"))
	if err != nil {
		t.Fatal(err)
	}
	wantDB := Database{Engine: Postgres, Service: "db", Name: "coop"}
	if got.Manifest.Databases["main"] != wantDB {
		t.Errorf("database %+v", got.Manifest.Databases["main"])
	}
	probes := []ReleaseProbe{{"/", 200, ""}, {"/about", 303, ""}, {"/shops", 200, "<h1>Shops"}}
	if !slices.Equal(got.Manifest.Probes, probes) {
		t.Errorf("probes %+v", got.Manifest.Probes)
	}
	if env, err := got.Services[1].Environment(Box{URL: "https://a.example", Database: "coop_g7"}); err != nil || env["COOP_DATABASE"] != "postgres://coop@db:5432/coop_g7" {
		t.Errorf("environment %v, %v", env, err)
	}
	var names []string
	for _, s := range got.Services {
		names = append(names, s.Name)
		if s.Shared != (s.Name == "db") {
			t.Errorf("service %s: shared is %v", s.Name, s.Shared)
		}
	}
	if !slices.Equal(names, []string{"db", "coop"}) {
		t.Errorf("the order is %v", names)
	}
	db := got.Services[0]
	wantHealth := &Health{Test: []string{"pg_isready", "-U", "coop"}, Interval: 5 * time.Second, Timeout: 3 * time.Second, StartPeriod: time.Minute, Retries: 5}
	if !reflect.DeepEqual(db.Health, wantHealth) || db.Memory != 256<<20 || db.CPUs != 0.5 || db.StopGrace != 30*time.Second || db.StopSignal != "SIGINT" {
		t.Errorf("database service %+v, health %+v", db, db.Health)
	}
	wantTmpfs := []Tmpfs{{"/run/postgresql", 1 << 20}, {"/dev/shm", 64 << 20}, {"/tmp", 16 << 20}}
	if !slices.Equal(db.Tmpfs, wantTmpfs) {
		t.Errorf("tmpfs %+v", db.Tmpfs)
	}
	if want := []Mount{{"database", "/var/lib/postgresql/data", false}, {"shared", "/srv/shared", true}}; !slices.Equal(db.Mounts, want) {
		t.Errorf("mounts %+v", db.Mounts)
	}
}

// TestCommandRunsInAService holds the choice of the service that a migration of the
// stack's own runs in: never one that could not change the database.
func TestCommandRunsInAService(t *testing.T) {
	const (
		sqlite   = "  main: {engine: sqlite, volume: rows, path: x.db}"
		postgres = "  main: {engine: postgres, service: db, name: coop}"
		server   = "\n  db: {image: db, volumes: [\"files:/files\"], healthcheck: {test: [CMD, ready]}}"
		web      = "  web: {image: web, volumes: [\"rows:/rows\"], environment: {DATABASE: \"${ROCHDALE_DATABASE}\"}}"
		writes   = "  web: {image: web, volumes: [\"rows:/rows\"]}"
		reads    = "  web: {image: web, volumes: [\"rows:/rows:ro\"]}"
		worker   = "\n  worker: {image: web, volumes: [\"rows:/rows\"]}"
		told     = "\n  worker: {image: web, environment: {DATABASE: \"db/${ROCHDALE_DATABASE}\"}}"
		bystands = "\n  mail: {image: mail}"
	)
	for name, v := range map[string]struct{ database, services, more, want, problem string }{
		"the only one that mounts it":   {database: sqlite, services: writes + bystands, want: "web"},
		"the only one that writes":      {database: sqlite, services: reads + worker, want: "worker"},
		"two that mount it":             {database: sqlite, services: writes + worker, problem: "command-unclear"},
		"one of two":                    {database: sqlite, services: writes + worker, more: ", service: worker", want: "worker"},
		"one that only reads":           {database: sqlite, services: reads + worker, more: ", service: web", problem: "command-service"},
		"one that does not mount it":    {database: sqlite, services: writes + bystands, more: ", service: mail", problem: "command-service"},
		"one that is not there":         {database: sqlite, services: writes, more: ", service: gone", problem: "no-service"},
		"nobody":                        {database: sqlite, services: reads, problem: "command-nowhere"},
		"the only one that is told":     {database: postgres, services: web + server, want: "web"},
		"two that are told":             {database: postgres, services: web + server + told, problem: "command-unclear"},
		"one of two that are told":      {database: postgres, services: web + server + told, more: ", service: web", want: "web"},
		"the server":                    {database: postgres, services: web + server, more: ", service: db", problem: "command-service"},
		"nobody is told":                {database: postgres, services: writes + server, problem: "database-unnamed"},
		"a service beside a folder":     {database: sqlite, services: writes, more: ", service: web, dir: migrations", problem: "one-way"},
		"a database that is not there":  {database: "  other: {engine: sqlite, volume: rows, path: x.db}", services: writes, problem: "no-database"},
		"a service that has a bad name": {database: sqlite, services: writes, more: ", service: We_b", problem: "name"},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := goodManifest + "databases:\n" + v.database + "\nmigrations: {database: main, command: [migrate, --now]" + v.more + "}\n"
			got, err := Parse(folder(manifest, "services:\n"+v.services+"\nvolumes: {rows: {}, files: {}}\n"))
			if v.problem != "" {
				var bad *Invalid
				if !errors.As(err, &bad) || len(bad.Problems) > 2 || !hasProblem(err, ManifestFile, v.problem) {
					t.Errorf("%v, want %s", err, v.problem)
				}
				return
			}
			if err != nil || got.Manifest.Migrations.Service != v.want || !slices.Equal(got.Manifest.Migrations.Command, []string{"migrate", "--now"}) {
				t.Errorf("%+v, %v", got.Manifest.Migrations, err)
			}
		})
	}
	files := folder(goodManifest+"databases:\n"+sqlite+"\nmigrations: {database: main, dir: migrations, service: web}\n", "services:\n"+writes+"\nvolumes: {rows: {}}\n")
	files["migrations/1.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nselect 1;\n")}
	if _, err := Parse(files); !hasProblem(err, ManifestFile, "only-beside") {
		t.Errorf("a service for a folder of migrations: %v", err)
	}
}

func TestStartOrder(t *testing.T) {
	waits := map[string][]string{"a": {"d", "b"}, "b": {"c"}, "d": {"c"}}
	order, cycle := startOrder([]string{"d", "c", "b", "a", "e"}, waits)
	if !slices.Equal(order, []string{"c", "b", "d", "a", "e"}) || cycle != nil {
		t.Errorf("order %v, cycle %v", order, cycle)
	}
	waits["c"] = []string{"b"}
	if _, cycle = startOrder([]string{"a", "b", "c", "d"}, waits); !slices.Equal(cycle, []string{"b", "c", "b"}) {
		t.Errorf("cycle %v", cycle)
	}
}

func TestEnvironment(t *testing.T) {
	s := Service{Name: "web", Env: map[string]string{
		"PLAIN": "a", "URL": "${ROCHDALE_URL}/x?d=${ROCHDALE_DOMAIN}", "PRICE": "5$$", "EDGE": "${ROCHDALE_EDGE}",
		"LIKE": "$${ROCHDALE_URL}",
	}}
	box := Box{URL: "https://a.example", Domain: "a.example", Edge: "172.20.0.1"}
	got, err := s.Environment(box)
	want := map[string]string{
		"PLAIN": "a", "URL": "https://a.example/x?d=a.example", "PRICE": "5$", "EDGE": "172.20.0.1", "LIKE": "${ROCHDALE_URL}",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := s.Environment(Box{URL: "https://a.example"}); err == nil || !strings.Contains(err.Error(), "ROCHDALE_EDGE") && !strings.Contains(err.Error(), "ROCHDALE_DOMAIN") {
		t.Errorf("a variable without a value gave %v", err)
	}
	// A value is never read for variables again.
	if got, err := s.Environment(Box{URL: "${ROCHDALE_NAME}", Domain: "$$", Edge: "e"}); err != nil || got["URL"] != "${ROCHDALE_NAME}/x?d=$$" {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestDatabasePattern: a backup leaves databases out by their names, which must stand
// for nothing else.
func TestDatabasePattern(t *testing.T) {
	for path, want := range map[string]bool{"rows/coop.db": true, "*": false, "co?p.db": false, "[a-z].db": false, `co\\op.db`: false} {
		files := folder(goodManifest+"databases:\n  main: {engine: sqlite, volume: data, path: \""+path+"\"}\n", goodCompose+"    volumes: [\"data:/data\"]\nvolumes: {data: {}}\n")
		_, err := Parse(files)
		if want && err != nil || !want && !hasProblem(err, ManifestFile, "path-pattern") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
