// SPDX-License-Identifier: AGPL-3.0-or-later

// Command demo shows the main job on this machine: it boots a bare Debian test
// machine, runs the real installer in it, walks one order through, and keeps
// it running until Ctrl-C.
//
// It is test support: it may import anything, nothing may import it, and it must
// never fake a part of the product.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/stacks/coop/walk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run leaves after the walk when the only argument is --once.
func run(ctx context.Context, args []string, out, talk io.Writer) (err error) {
	once := len(args) == 1 && args[0] == "--once"
	if len(args) > 0 && !once {
		return fmt.Errorf("usage: demo [--once]")
	}
	binary, err := box.Binary()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Booting a bare Debian 12 machine ...")
	b, err := box.Boot(ctx, box.Options{Binary: binary, Log: talk})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanUp(b, out)) }()
	if err := install(ctx, b, out, talk); err != nil {
		return err
	}
	if err := show(ctx, b, out); err != nil || once {
		return err
	}
	fmt.Fprintln(out, "\nIt runs until you press Ctrl-C; then everything of it is removed.")
	<-ctx.Done()
	return nil
}

func cleanUp(b *box.Box, out io.Writer) error {
	fmt.Fprintln(out, "\nRemoving the test machine ...")
	return errors.Join(b.Close(), testhost.Teardown(context.Background()))
}

func install(ctx context.Context, b *box.Box, out, talk io.Writer) error {
	fmt.Fprintf(out, "\nroot@box:~# rochdale install --stack delivery --domain %s --email ada@%s\n", b.Domain, b.Domain)
	r, err := b.Exec(ctx, testhost.Command{Args: b.InstallArgs(), Stdout: out, Stderr: talk})
	if err != nil {
		return err
	}
	if r.Code != 0 && r.Code != 3 {
		return fmt.Errorf("the installer ended with code %d", r.Code)
	}
	return b.WaitHTTPS(ctx)
}

func show(ctx context.Context, b *box.Box, out io.Writer) error {
	link, err := b.Output(ctx, "rochdale", "stack", "link", "delivery", "--quiet")
	if err != nil {
		return err
	}
	start := time.Now()
	o := walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(link), Unique: "demo", Say: func(step string) { fmt.Fprintln(out, "  -", step) }}
	receipt, err := walk.Order(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOne order walked through over HTTPS in %.1f s.\n", time.Since(start).Seconds())
	fmt.Fprintf(out, "The customer paid %s: goods %s, delivery %s, tip %s; of it the shop gets %s, the courier %s, the co-op %s.\n",
		euros(receipt.Total), euros(receipt.Goods), euros(receipt.Delivery), euros(receipt.Tip), euros(receipt.Provider), euros(receipt.Worker), euros(receipt.Commission))
	fmt.Fprintf(out, "\nIn your browser: add this line to the hosts file of the machine that your browser runs on\n\n    %s %s\n\n", b.IP, b.Domain)
	fmt.Fprintf(out, "and open %s (its certificate is from a test authority, so the browser warns).\n", b.URL())
	fmt.Fprintf(out, "Sign in as the admin: %s, password %s\n", receipt.Admin.Email, receipt.Admin.Password)
	if m, ok := b.Machine.(*testhost.Machine); ok {
		enter, err := m.ShellCommand(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "A shell in the box, from another terminal of this machine: %s\n", enter)
	}
	return nil
}

func euros(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
