// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
)

var update = flag.Bool("update", false, "write the golden files anew")

type checkTwin []appliance.Finding

func (c checkTwin) Findings(context.Context) []appliance.Finding { return c }

type meterTwin map[string]int64

func (m meterTwin) Memory(context.Context) (map[string]int64, error) { return m, nil }

func finding(id string, s appliance.Severity) appliance.Finding {
	return appliance.Finding{Message: appliance.Message{ID: id}, Severity: s}
}

// TestStatusForm holds the JSON that others read against its golden file.
func TestStatusForm(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.boot()
		defer func() { b.stop() }()
		d.Meter = meterTwin{"rochdale.service": 20 << 20}
		d.Checks = []appliance.Check{checkTwin{finding("doctor.notice", appliance.Notice), finding("doctor.warning", appliance.Warning), finding("doctor.notice", appliance.Notice)}}
		if _, err := b.apply(nil); err != nil {
			t.Fatal(err)
		}
		b.edge.set(func() {
			b.edge.certs = []appliance.Certificate{{Name: "rides.example", NotAfter: time.Date(2000, 4, 1, 0, 0, 0, 0, time.UTC), Issuer: "Test CA"}}
		})
		s, err := d.Status(t.Context())
		if err != nil || !s.Healthy {
			t.Fatalf("%+v %v", s, err)
		}
		s.MemoryBytes.Containers = nameless(s.MemoryBytes.Containers)
		golden(t, "status.json", s)
		b.edge.set(func() { b.edge.certs[0].Error = "the authority is down" })
		if f := b.findings(); !slices.Contains(f, "warning daemon.certificate") {
			t.Errorf("%v", f)
		}
		b.edge.set(func() { b.edge.certs[0].NotAfter = time.Now().Add(time.Hour) })
		if f := b.findings(); f[0] != "failure daemon.certificate" {
			t.Errorf("the worst is not first: %v", f)
		}
		if s, err = d.Status(t.Context()); err != nil || s.Healthy {
			t.Errorf("healthy with a failure: %v", err)
		}
	})
}

// nameless leaves the random end of containers' names out.
func nameless(m map[string]int64) map[string]int64 {
	out := map[string]int64{}
	for name, v := range m {
		out[name[:strings.LastIndexByte(name, '-')]] = v
	}
	return out
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}

// TestStatusWithoutDaemon is what the command line shows while it is dead.
func TestStatusWithoutDaemon(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		config, err := appliance.ReadConfig(b.paths.Config())
		if err != nil {
			t.Fatal(err)
		}
		job, _, err := b.store.Open(t.Context(), "stack-restart", "delivery", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s, err := appliance.StatusFromStore(t.Context(), b.store, config, []appliance.Finding{finding("doctor.daemon-dead", appliance.Failure)})
		if err != nil || s.Healthy || len(s.Stacks) != 1 || len(s.Jobs) != 1 || s.Jobs[0].ID != job {
			t.Fatalf("%+v %v", s, err)
		}
		want := appliance.StackStatus{Name: "delivery", Version: "1.0.0", State: appliance.StateUnknown, URL: "https://rides.example"}
		want.Updates.History = []appliance.Change{}
		if !reflect.DeepEqual(s.Stacks[0], want) {
			t.Errorf("%+v", s.Stacks[0])
		}
	})
}

func TestAlive(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		time.Sleep(time.Hour)
		if !d.Alive() {
			t.Error("a daemon that reconciles is taken for dead")
		}
		b.stop()
		time.Sleep(2 * time.Minute)
		if d.Alive() {
			t.Error("a daemon that does not reconcile is taken for alive")
		}
	})
}
