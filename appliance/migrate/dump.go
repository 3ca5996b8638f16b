// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/stacks"
)

// maxProperties bounds what is read of a snapshot besides the databases.
const maxProperties = 1 << 20

// Snapshot implements [appliance.Data]. SQLite databases are copied by the child;
// those in a server are dumped by the server's own programs, from a view that a
// child holds open and measures in.
func (d Data) Snapshot(ctx context.Context, at appliance.DataPlace, into string, facts map[string]stacks.Fact) (appliance.Snapshot, error) {
	s := appliance.Snapshot{Files: map[string]string{}, Facts: map[string]int64{}}
	if err := known(at, facts); err != nil {
		return s, err
	}
	done, err := d.snapshotFiles(ctx, at, into, facts)
	if err != nil {
		return s, err
	}
	s.Bytes = done.Bytes
	maps.Copy(s.Facts, done.Facts)
	for name, db := range at.Databases {
		s.Files[name] = snapshotFile(name, db.Engine)
	}
	for _, name := range slices.Sorted(maps.Keys(only(at, inAServer).Databases)) {
		one := only(at, func(other string, _ stacks.Database) bool { return other == name })
		done, err := d.snapshotServer(ctx, one, filepath.Join(into, s.Files[name]), facts)
		if err != nil {
			return s, err
		}
		s.Bytes += done.Bytes
		maps.Copy(s.Facts, done.Facts)
	}
	if len(s.Facts) != len(facts) {
		return s, fmt.Errorf("snapshot of stack %s: %d of %d facts were measured", at.Stack, len(s.Facts), len(facts))
	}
	return s, nil
}

func (d Data) snapshotFiles(ctx context.Context, at appliance.DataPlace, into string, facts map[string]stacks.Fact) (outcome, error) {
	o := work(verbSnapshot, at)
	if err := o.from(only(at, inFile), writesBeside(verbSnapshot)); err != nil {
		return outcome{}, err
	}
	o.binds = append(o.binds, bind{into, inFolder, true})
	o.temp, o.request.Folder, o.request.Facts = inFolder, inFolder, factsOf(facts)
	return d.do(ctx, o)
}

// snapshotServer dumps the one database of a place into a file.
func (d Data) snapshotServer(ctx context.Context, at appliance.DataPlace, file string, facts map[string]stacks.Fact) (outcome, error) {
	o := work(verbHold, at)
	o.limit = dumpLimit
	if err := o.from(at, false); err != nil {
		return outcome{}, err
	}
	o.request.Facts = factsOf(facts)
	s, err := d.server(ctx, at)
	if err != nil {
		return outcome{}, err
	}
	var done outcome
	_, err = d.hold(ctx, o, func(ctx context.Context, held outcome) error {
		done = held
		done.Bytes, err = d.dump(ctx, s, file, held)
		return err
	})
	return done, err
}

// server is the one database of a place that is in a server, and the container
// that it is in.
type server struct {
	database
	stack, id string
	user      int
}

func (d Data) server(ctx context.Context, at appliance.DataPlace) (server, error) {
	s := server{stack: at.Stack, user: at.User}
	for _, db := range at.Databases {
		all, err := d.containers.List(ctx, at.Stack)
		if err != nil {
			return s, err
		}
		host, _, _ := net.SplitHostPort(at.Address)
		i := slices.IndexFunc(all, func(c appliance.Container) bool {
			return c.Service == db.Service && c.Running() && c.Address == host
		})
		if i < 0 {
			return s, appliance.Problem("daemon.database-gone", nil, "stack", at.Stack, "service", db.Service)
		}
		password, err := secret(at.PasswordFile)
		if err != nil {
			return s, err
		}
		s.id, s.database = all[i].ID, inServer(db, at.Generation, at.Address, password)
	}
	return s, nil
}

// program is one of the server's own, that connects as the database's role. The
// password is in its environment, where only the server and root can see it.
func (s server) program(name string, args ...string) appliance.Program {
	host, port, _ := net.SplitHostPort(s.Address)
	argv := append([]string{name, "--host=" + host, "--port=" + port, "--username=" + s.Role, "--no-password", "--dbname=" + s.Name}, args...)
	return appliance.Program{Argv: argv, Env: map[string]string{"PGPASSWORD": s.Password, "PGCONNECT_TIMEOUT": "15"}}
}

// dump writes the view that is held into a file, with the server's properties
// beside it. A dump that its own reader does not get through does not count.
func (d Data) dump(ctx context.Context, s server, file string, held outcome) (int64, error) {
	p := s.program("pg_dump", "--format=custom", "--compress=0", "--lock-wait-timeout=60s", "--snapshot="+held.Exported)
	attr := host.Attr{Mode: 0o600, UID: s.user, GID: s.user}
	if err := d.receive(ctx, s, p, file, attr); err != nil {
		return 0, s.failed(ctx, "migrate.dump-failed", err)
	}
	size, err := d.proven(ctx, s, file)
	if err != nil {
		return 0, errors.Join(s.failed(ctx, "migrate.dump-failed", err), d.files.Remove(file))
	}
	properties, err := json.Marshal(held.Properties)
	if err != nil {
		return 0, err
	}
	return size, s.failed(ctx, "migrate.dump-failed", d.files.Write(besideDump(file), properties, attr))
}

func besideDump(file string) string {
	return filepath.Join(filepath.Dir(file), propertiesFile(trimmed(filepath.Base(file))))
}

func trimmed(name string) string { return name[:len(name)-len(filepath.Ext(name))] }

// receive keeps what a program prints in a file, durably and whole or not at all.
func (d Data) receive(ctx context.Context, s server, p appliance.Program, file string, attr host.Attr) error {
	read, write := io.Pipe()
	p.Out = write
	ended := make(chan error, 1)
	go func() {
		err := d.containers.Stream(ctx, s.id, p)
		_ = write.CloseWithError(err) // it never fails
		ended <- err
	}()
	err := d.files.WriteFrom(file, &sparing{from: read, free: func() (int64, error) { return host.Space{}.Free(filepath.Dir(file)) }}, attr)
	_ = read.CloseWithError(err)
	if printed := <-ended; printed != nil {
		return printed
	}
	return err
}

// spareLook is how many bytes of a dump are written between two looks at the disk.
const spareLook = 16 << 20

// sparing ends a dump before it takes the disk from the stacks. How large it becomes
// is not known before: a server keeps long values compressed, and its word of its own
// size is all that there is.
type sparing struct {
	from io.Reader
	free func() (int64, error)
	left int
}

// Read implements io.Reader.
func (s *sparing) Read(p []byte) (int, error) {
	if s.left <= 0 {
		free, err := s.free()
		if err != nil {
			return 0, err
		}
		if free < appliance.LeastFree {
			return 0, fmt.Errorf("%d bytes are free: %w", free, syscall.ENOSPC)
		}
		s.left = spareLook
	}
	n, err := s.from.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// proven reads a dump to its end with the server's own program, which fails when
// something is missing, and gives its size.
func (d Data) proven(ctx context.Context, s server, file string) (int64, error) {
	in, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer func() { _ = in.Close() }()
	magic := make([]byte, 5)
	if _, err := io.ReadFull(in, magic); err != nil || !bytes.Equal(magic, []byte("PGDMP")) {
		return 0, errors.New("it is not a dump")
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if err := d.containers.Stream(ctx, s.id, appliance.Program{Argv: []string{"pg_restore", "--file=/dev/null"}, In: in}); err != nil {
		return 0, err
	}
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// failed explains an error of the server's programs.
func (s server) failed(ctx context.Context, id string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case noRoom(err):
		return (&Failure{Reason: DiskFull, Detail: words(err)}).problem(s.stack)
	}
	detail := words(err)
	if e := (*appliance.Error)(nil); errors.As(err, &e) && e.Args["detail"] != "" {
		detail = e.Args["detail"] // the program's own words
	}
	return appliance.Problem(id, err, "stack", s.stack, "database", s.Name, "detail", detail)
}

// Load implements [appliance.Data].
func (d Data) Load(ctx context.Context, from string, at appliance.DataPlace) error {
	o := work(verbLoad, at)
	at = only(at, func(string, stacks.Database) bool { return true })
	if err := o.to(at); err != nil {
		return err
	}
	servers := only(at, inAServer)
	var err error
	if o.request.Properties, err = propertiesIn(from, servers); err != nil {
		return err
	}
	o.binds, o.request.Folder = append(o.binds, bind{path: from, inside: inFolder}), inFolder
	if _, err := d.do(ctx, o); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(servers.Databases)) {
		one := only(at, func(other string, _ stacks.Database) bool { return other == name })
		if err := d.restore(ctx, one, filepath.Join(from, snapshotFile(name, stacks.Postgres))); err != nil {
			return err
		}
	}
	return nil
}

// propertiesIn reads what a snapshot knows of databases in a server, and wants
// their dumps to be there before anything is dropped.
func propertiesIn(folder string, at appliance.DataPlace) (map[string]properties, error) {
	all := map[string]properties{}
	for name := range at.Databases {
		missing := func(err error) error {
			return (&Failure{Reason: NoSnapshot, Name: name, Detail: words(err)}).problem(at.Stack)
		}
		if err := plainFile(filepath.Join(folder, snapshotFile(name, stacks.Postgres))); err != nil {
			return nil, missing(err)
		}
		file, err := os.Open(filepath.Join(folder, propertiesFile(name)))
		if err != nil {
			return nil, missing(err)
		}
		p, err := decode[properties](file, maxProperties)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, missing(err)
		}
		all[name] = p
	}
	return all, nil
}

// restore fills the one database of a place, which is empty, from a dump. What
// the database asks of its sessions does not hold for this one.
func (d Data) restore(ctx context.Context, at appliance.DataPlace, file string) error {
	s, err := d.server(ctx, at)
	if err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	p := s.program("pg_restore", "--exit-on-error")
	p.In, p.Env["PGOPTIONS"] = in, "-c default_transaction_read_only=off -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
	return s.failed(ctx, "migrate.restore-failed", d.containers.Stream(ctx, s.id, p))
}
