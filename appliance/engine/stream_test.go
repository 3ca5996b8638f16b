// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"rochdale/appliance"
	"rochdale/appliance/engine"
)

// containerOfFake has a container in which programs can be run.
func containerOfFake(t *testing.T) *engine.Engine {
	t.Helper()
	f, e := newFake(t)
	f.set(func() { f.containers["c"] = map[string]any{"Id": "c"} })
	return e
}

func TestStream(t *testing.T) {
	e := containerOfFake(t)
	var out bytes.Buffer
	long := strings.Repeat("a long text ", 100_000)
	must(t, e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"upper"}, In: strings.NewReader(long), Out: &out}))
	if out.String() != strings.ToUpper(long) {
		t.Errorf("%d bytes came back of %d", out.Len(), len(long))
	}
	out.Reset()
	env := map[string]string{"PGPASSWORD": "sesame", "A": "1"}
	must(t, e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"environment"}, Env: env, Out: &out}))
	if out.String() != "A=1 PGPASSWORD=sesame" {
		t.Errorf("the environment is %q", out.String())
	}
	out.Reset()
	must(t, e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"much"}, Out: &out}))
	if out.Len() != 1_000_000 {
		t.Errorf("%d bytes", out.Len())
	}
	must(t, e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"much"}}))
}

func TestStreamFailures(t *testing.T) {
	e := containerOfFake(t)
	err := e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"leave"}, In: strings.NewReader(strings.Repeat("x", 10<<20))})
	wantProblem(t, err, "engine.program-failed")
	if p := problem(err); p.Args["code"] != "3" || !strings.HasSuffix(p.Args["detail"], "the last ones") || len(p.Args["detail"]) > 500 {
		t.Errorf("arguments %v", p.Args)
	}
	wantProblem(t, e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"lost"}}), "engine.not-there")
	wantProblem(t, e.Stream(t.Context(), "missing", appliance.Program{Argv: []string{"upper"}}), "engine.not-there")
	full := errors.New("no space")
	if err := e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"much"}, Out: refusing{full}}); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
	gone := errors.New("the file is gone")
	in := io.MultiReader(strings.NewReader("begun"), iotest.ErrReader(gone))
	if err := e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"upper"}, In: in}); !errors.Is(err, gone) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// TestStreamThatBreaks loses the connection to a program that goes on: what came
// is not all.
func TestStreamThatBreaks(t *testing.T) {
	t.Parallel() // it takes as long as the engine is given to notice an end
	e := containerOfFake(t)
	err := e.Stream(t.Context(), "c", appliance.Program{Argv: []string{"cut"}})
	wantProblem(t, err, "engine.refused")
	if !strings.Contains(err.Error(), "its output ended before it did") {
		t.Errorf("error %v", err)
	}
}

// refusing is a writer on a full disk.
type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }

func problem(err error) *appliance.Error {
	var p *appliance.Error
	if errors.As(err, &p) {
		return p
	}
	return &appliance.Error{}
}
