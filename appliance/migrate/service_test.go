// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/migrate"
)

var update = flag.Bool("update", false, "write the golden files")

// TestMain lets the test binary be the child too, as our binary is.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == migrate.Command {
		os.Exit(child())
	}
	if len(os.Args) == 2 && os.Args[1] == "look-around" {
		os.Exit(lookAround())
	}
	if len(os.Args) >= 4 && os.Args[1] == "write-rows" {
		os.Exit(writeRows(os.Args[2], os.Args[3], len(os.Args) == 5))
	}
	if len(os.Args) == 3 && os.Args[1] == "be-parent" {
		os.Exit(beParent(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == "be-copying-parent" {
		os.Exit(beCopyingParent(os.Args[2]))
	}
	os.Exit(m.Run())
}

func child() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := migrate.Child(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// view is what a program in the child's cage finds out, after it has become the
// stack's user as the child does.
type view struct {
	Files           []string // all that it can see
	Network         string   // error of using it
	RootWrite       string
	MigrationsWrite string
	DataWrite       string
	FilesWrite      string
	TargetWrite     string
	Capabilities    uint64
	NoNewPrivileges int
	RootAgain       string
}

// beParent runs migrations as the daemon does, so that a test can kill it.
func beParent(request string) int {
	var r appliance.MigrateRequest
	self, err := os.Executable()
	if err == nil {
		err = json.Unmarshal([]byte(request), &r)
	}
	if err == nil {
		_, err = migrate.New(host.Systemd{Runner: host.Exec{}}, self).Up(context.Background(), r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// beCopyingParent copies data as the daemon does.
func beCopyingParent(places string) int {
	var p []appliance.DataPlace
	self, err := os.Executable()
	if err == nil {
		err = json.Unmarshal([]byte(places), &p)
	}
	if err == nil {
		_, err = migrate.NewData(host.Systemd{Runner: host.Exec{}}, self, nil, nil).Copy(context.Background(), p[0], p[1], nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func lookAround() int {
	v := view{Capabilities: 1, NoNewPrivileges: -1}
	_ = syscall.Setgroups(nil)
	_ = syscall.Setgid(stackUID)
	_ = syscall.Setuid(stackUID)
	_ = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if path == "/sys" { // the empty network's own
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			v.Files = append(v.Files, path)
		}
		return nil
	})
	if c, err := net.Dial("udp", "10.77.0.1:9"); err != nil {
		v.Network = err.Error()
	} else {
		_ = c.Close()
	}
	v.RootWrite = write("/file")
	v.MigrationsWrite = write("/migrations/file")
	v.DataWrite = write("/data/file")
	v.FilesWrite = write("/from/files/file")
	v.TargetWrite = write("/to/files/file")
	if err := syscall.Setuid(0); err != nil {
		v.RootAgain = err.Error()
	}
	v.powers()
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return 1
	}
	return 0
}

const stackUID = 65532

func (v *view) powers() {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		v.Capabilities, v.NoNewPrivileges = capabilities(), noNewPrivileges()
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		k, value, _ := strings.Cut(s.Text(), ":")
		switch value = strings.TrimSpace(value); k {
		case "CapEff":
			v.Capabilities, _ = strconv.ParseUint(value, 16, 64)
		case "NoNewPrivs":
			v.NoNewPrivileges, _ = strconv.Atoi(value)
		}
	}
}

func write(path string) string {
	if err := os.WriteFile(filepath.Clean(path), []byte("x"), 0o600); err != nil {
		return err.Error()
	}
	return ""
}
