// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rochdale/backups"
	"rochdale/backups/restictest"
)

// measured runs restic as a child and remembers the most memory that one run had.
type measured struct {
	peak int64 // bytes
}

// Restic implements [backups.Machine].
func (m *measured) Restic(ctx context.Context, c backups.Call) (backups.Ended, error) {
	cmd := exec.CommandContext(ctx, c.Program, c.Args...)
	cmd.Env = append(c.Env, "RESTIC_PASSWORD_FILE="+c.PasswordFile)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return backups.Ended{}, err
	}
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.peak = max(m.peak, use.Maxrss<<10)
	}
	return backups.Ended{Code: cmd.ProcessState.ExitCode(), Stdout: out.Bytes(), Stderr: said.Bytes()}, nil
}

// BenchmarkAgainstRestic saves and restores the same data by the door and by restic
// itself with the defaults that a person gets, in turns. It reports the door's time
// and peak memory as a multiple of restic's, and of those of a restic that is held
// to one processor, as the door's is. ROCHDALE_BENCH_MB says how much data.
func BenchmarkAgainstRestic(b *testing.B) {
	mb, err := strconv.Atoi(os.Getenv("ROCHDALE_BENCH_MB"))
	if err != nil {
		mb = 128
	}
	data := filepath.Join(b.TempDir(), "data")
	writeData(b, data, mb)
	var ours, bare, one contest
	for i := 0; b.Loop(); i++ {
		ours.door(b, data)
		bare.restic(b, data)
		one.restic(b, data, "GOMAXPROCS=1")
	}
	n := float64(b.N)
	b.ReportMetric(float64(mb)/(ours.backup.Seconds()/n), "backup-MB/s")
	b.ReportMetric(float64(mb)/(ours.restore.Seconds()/n), "restore-MB/s")
	b.ReportMetric(float64(ours.peak>>20), "peak-MB")
	for name, other := range map[string]contest{"restic": bare, "restic-1": one} {
		b.ReportMetric(ours.backup.Seconds()/other.backup.Seconds(), "backup/"+name)
		b.ReportMetric(ours.restore.Seconds()/other.restore.Seconds(), "restore/"+name)
		b.ReportMetric(float64(ours.peak)/float64(other.peak), "peak/"+name)
	}
}

// writeData makes a database's worth of text, and photos, which do not shrink.
func writeData(b *testing.B, dir string, mb int) {
	b.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{7})
	for i := range mb {
		block := make([]byte, 1<<20)
		if _, err := r.Read(block); err != nil {
			b.Fatal(err)
		}
		if i%2 == 0 {
			var text strings.Builder
			for n := 0; text.Len() < len(block); n++ {
				fmt.Fprintf(&text, "order %d of rider %x: %d cents\n", i<<20+n, block[n%4096:n%4096+4], n*17)
			}
			block = []byte(text.String())[:len(block)]
		}
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), block, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// contest is what one side took: the whole of it, with all that it does around restic.
type contest struct {
	backup, restore time.Duration
	peak            int64
}

// door saves and restores as the product does.
func (c *contest) door(b *testing.B, data string) {
	b.Helper()
	m := &measured{}
	d, r := restictest.Door(b), restictest.Repository(b, "bench")
	d.Machine = m
	if _, err := d.Init(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	saved, err := d.Backup(b.Context(), r, backups.Backup{Paths: []string{data}, Host: "box"})
	if err != nil {
		b.Fatal(err)
	}
	c.backup += time.Since(began)
	began = time.Now()
	target := filepath.Join(b.TempDir(), "target")
	if _, err := d.Restore(b.Context(), r, backups.Restore{Snapshot: saved.SnapshotID, Target: target}); err != nil {
		b.Fatal(err)
	}
	c.restore += time.Since(began)
	c.peak = max(c.peak, m.peak)
	if err := errors.Join(os.RemoveAll(target), os.RemoveAll(r.URL)); err != nil {
		b.Fatal(err)
	}
}

// restic saves and restores as a person would by hand.
func (c *contest) restic(b *testing.B, data string, env ...string) {
	b.Helper()
	m := &measured{}
	r := restictest.Repository(b, "bare")
	target := filepath.Join(b.TempDir(), "target")
	run := func(args ...string) time.Duration {
		began := time.Now()
		call := backups.Call{
			Program: restictest.Program(b), PasswordFile: r.PasswordFile,
			Args: append([]string{"--no-cache", "--repo=" + r.URL}, args...), Env: append(os.Environ(), env...),
		}
		if e, err := m.Restic(b.Context(), call); err != nil || e.Code != 0 {
			b.Fatalf("restic %v: code %d, %v\n%s", args, e.Code, err, e.Stderr)
		}
		return time.Since(began)
	}
	run("init")
	c.backup += run("backup", "--quiet", data)
	c.restore += run("restore", "--quiet", "latest", "--target", target)
	c.peak = max(c.peak, m.peak)
	if err := errors.Join(os.RemoveAll(target), os.RemoveAll(r.URL)); err != nil {
		b.Fatal(err)
	}
}
