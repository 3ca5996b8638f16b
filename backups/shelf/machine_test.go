// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf_test

import (
	"context"
	"io"
	"io/fs"
	"os"
	"testing"

	"rochdale/appliance/host"
	"rochdale/backups/shelf"
)

// disk and talker are the machine's own, joined as the product joins them.
type disk struct{ host.Files }

func (d disk) Mkdir(path string, mode fs.FileMode) error {
	return d.MkdirAll(path, host.Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()})
}

type talker struct{}

func (talker) Talk(ctx context.Context, argv []string, in io.Reader, out io.Writer) error {
	_, err := host.Exec{}.Run(ctx, host.Command{Name: argv[0], Args: argv[1:], Stdin: in, Stdout: out})
	return err
}

func machine() shelf.Machine {
	return shelf.Machine{Disk: disk{host.NewFiles()}, Talker: talker{}}
}

func open(t *testing.T, p shelf.Place) shelf.Shelf {
	t.Helper()
	s, err := shelf.Open(p, machine())
	if err != nil {
		t.Fatal(err)
	}
	return s
}
