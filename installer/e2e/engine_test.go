// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rochdale/installer/testhost"
)

// TestContracts runs the suites of appliance/engine, appliance/migrate and appliance/host that
// need a Docker, a systemd and a PostgreSQL of their own, inside machines with
// the versions that Debian has.
func TestContracts(t *testing.T) {
	t.Parallel()
	suites := map[string]string{}
	for _, room := range []string{"engine", "migrate", "host"} {
		suites[room] = testBinary(t, room)
	}
	for name, c := range map[string]struct {
		release, daemon string
		rooms           []string
	}{
		"Debian 12": {"bookworm", `{"live-restore": true}`, []string{"engine", "migrate", "host"}},
		"Debian 13": {"trixie", `{"live-restore": true}`, []string{"engine", "migrate", "host"}},
		// The store that Engine 29 begins with; it numbers images differently.
		"containerd's store": {"trixie", `{"live-restore": true, "features": {"containerd-snapshotter": true}}`, []string{"engine"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := dockerMachine(t, c.release, c.daemon)
			for _, room := range c.rooms {
				t.Run(room, func(t *testing.T) { runSuite(t, m, suites[room]) })
			}
		})
	}
}

// testBinary compiles the tests of a room into one static file.
func testBinary(t *testing.T, room string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "contract-"+room)
	cmd := exec.CommandContext(within(t, 5*time.Minute), "go", "test", "-c", "-tags", "e2e", "-o", file, "rochdale/appliance/"+room)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

// dockerMachine is a machine with Debian's Docker, told what daemon says, and
// with Debian's PostgreSQL.
func dockerMachine(t *testing.T, release, daemon string) *testhost.Machine {
	t.Helper()
	ctx := within(t, 15*time.Minute)
	m, err := testhost.Boot(ctx, testhost.Options{Name: "engine", Suite: release, From: withEngine(t, release), Files: []testhost.File{
		{Path: "/etc/docker/daemon.json", Data: []byte(daemon), Mode: 0o644},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// withEngine is the saved root of a machine with Debian's Docker and PostgreSQL.
func withEngine(t *testing.T, release string) string {
	t.Helper()
	ctx := within(t, 15*time.Minute)
	o := testhost.Options{Name: "engine", Suite: release, AptCache: cache(t)}
	prepared, err := testhost.Saved(ctx, "contracts-"+release, o, func(m *testhost.Machine) error {
		if _, err := m.Output(ctx, "apt-get", "update"); err != nil {
			return err
		}
		_, err := m.Output(ctx, "apt-get", "install", "--yes", "--no-install-recommends", "docker.io", "postgresql")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return prepared
}

func runSuite(t *testing.T, m *testhost.Machine, binary string) {
	t.Helper()
	ctx := within(t, 10*time.Minute)
	inside := "/usr/local/bin/" + filepath.Base(binary)
	if err := m.CopyIn(ctx, binary, inside, 0o755); err != nil {
		t.Fatal(err)
	}
	read, write := io.Pipe()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		for lines := bufio.NewScanner(read); lines.Scan(); {
			t.Log(lines.Text())
		}
		_, _ = io.Copy(io.Discard, read) // a line too long to show must not stop the suite
	}()
	r, err := m.Exec(ctx, testhost.Command{Args: []string{inside, "-test.v", "-test.timeout=9m", "-test.run=^TestReal"}, Stdout: write, Stderr: write})
	_ = write.Close()
	<-shown
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Errorf("the suite ended with code %d", r.Code)
	}
}
