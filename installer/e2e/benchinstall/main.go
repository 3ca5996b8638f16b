// SPDX-License-Identifier: AGPL-3.0-or-later

// Command benchinstall measures one installation on a bare test machine: the
// wall time of every step, the time to the first HTTPS answer, and the memory
// (PSS) of every process after 60 s idle, beside the machine's figures before.
// It prints Markdown for docs/benchmarks.md.
//
// It is test support: it may import anything, nothing may import it, and it must
// never fake a part of the product.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchinstall:", err)
		os.Exit(1)
	}
}

// idle is how long the box is left alone before its memory is read.
const idle = time.Minute

func run(ctx context.Context, suites []string, out, talk io.Writer) error {
	if len(suites) == 0 {
		suites = testhost.Suites()
	}
	binary, err := box.Binary()
	if err != nil {
		return err
	}
	var errs []error
	for _, suite := range suites {
		errs = append(errs, measure(ctx, box.Options{Suite: suite, Binary: binary, Log: talk}, out))
	}
	return errors.Join(errs...)
}

func measure(ctx context.Context, o box.Options, out io.Writer) (err error) {
	b, err := box.Boot(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	before, err := figuresOf(ctx, b)
	if err != nil {
		return err
	}
	answer := make(chan time.Duration, 1)
	start := time.Now()
	waiting, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	go func() {
		if b.WaitHTTPS(waiting) == nil {
			answer <- time.Since(start)
		}
		close(answer)
	}()
	done, err := b.Install(ctx)
	if err != nil {
		return err
	}
	whole := time.Since(start)
	first, ok := <-answer
	if !ok {
		return errors.New("no HTTPS answer came")
	}
	fmt.Fprintf(out, "### %s: install to the first HTTPS answer %.1f s, to the prompt %.1f s\n\n| step | s |\n|---|---|\n", o.Suite, first.Seconds(), whole.Seconds())
	printSteps(out, done)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(idle):
	}
	after, err := figuresOf(ctx, b)
	if err != nil {
		return err
	}
	printMemory(out, before, after)
	return nil
}

type figures struct {
	processes []box.Process
	disk      int64 // bytes in the root
}

func figuresOf(ctx context.Context, b *box.Box) (f figures, err error) {
	if f.processes, err = b.Memory(ctx); err != nil {
		return f, err
	}
	r, err := b.Output(ctx, "du", "-sxB1", "/")
	if err != nil {
		return f, err
	}
	_, err = fmt.Sscan(r, &f.disk)
	return f, err
}

func printSteps(out io.Writer, done box.Installed) {
	for _, line := range done.Lines {
		var e struct {
			Type, Step, Kind string
			Event            struct{ Step, Kind string }
			Duration         int64 `json:"duration_ns"`
		}
		if json.Unmarshal(line, &e) == nil && e.Kind == "done" {
			fmt.Fprintf(out, "| %s | %.1f |\n", e.Step, time.Duration(e.Duration).Seconds())
		}
	}
}

func printMemory(out io.Writer, before, after figures) {
	everything := func(box.Process) bool { return true }
	fmt.Fprintf(out, "\n| memory after %.0f s idle (PSS) | MB |\n|---|---|\n", idle.Seconds())
	fmt.Fprintf(out, "| the machine before | %.1f |\n", mb(box.Sum(before.processes, everything)))
	for _, p := range after.processes {
		fmt.Fprintf(out, "| %s (%s) | %.1f |\n", p.Name, p.Unit, mb(p.PSS))
	}
	fmt.Fprintf(out, "| **Rochdale's own processes** | **%.1f** |\n", mb(box.Sum(after.processes, box.Process.Ours)))
	fmt.Fprintf(out, "| **the whole box** | **%.1f** |\n", mb(box.Sum(after.processes, everything)))
	fmt.Fprintf(out, "| disk before / after | %.0f / %.0f |\n\n", mb(before.disk), mb(after.disk))
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }
