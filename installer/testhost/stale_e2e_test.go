// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package testhost

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMain also is the other test process, which boots a machine and never closes it.
func TestMain(m *testing.M) {
	if os.Getenv("TESTHOST_ABANDON") == "" {
		os.Exit(m.Run())
	}
	machine, err := Boot(context.Background(), Options{Name: "orphan"})
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println(machine.lease.Name)
	time.Sleep(time.Hour) // until it is killed
}

func TestMachinesOfADeadTestAreRemoved(t *testing.T) {
	ctx := ready(t)
	mine := boot(t, ctx, Options{Name: "mine"})
	other := exec.CommandContext(ctx, os.Args[0])
	other.Env = append(os.Environ(), "TESTHOST_ABANDON=1")
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	var name string
	if _, err := fmt.Fscan(bufio.NewReader(stdout), &name); err != nil {
		t.Fatal(err)
	}
	var l lease
	if err := readJSON(filepath.Join(runDir(), name+".lease"), &l); err != nil {
		t.Fatal(err)
	}
	if err := RemoveStale(ctx, io.Discard); err != nil {
		t.Fatal(err)
	}
	if len(l.Started) == 0 || !l.Started[0].alive() || l.IP == mine.IP {
		t.Fatalf("the machine of a living test was touched: %+v", l)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	if err := Setup(ctx, io.Discard); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, &Machine{lease: l})
	if got := out(t, ctx, mine, "hostname"); got != "mine" {
		t.Errorf("this test's machine says %q", got)
	}
}

func TestFoldersWithoutAMachineAreRemoved(t *testing.T) {
	ctx := ready(t)
	t.Setenv("ROCHDALE_TEST_CACHE", t.TempDir())
	orphan := filepath.Join(machinesDir(), "rt99", "root")
	if err := os.MkdirAll(orphan, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := RemoveStale(ctx, io.Discard); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Dir(orphan)) {
		t.Error("the folder is left")
	}
}
