// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/stacks"
)

const (
	// filesLimit is for the first pass over files, for which nobody waits.
	filesLimit = 4 * time.Hour
	// dumpLimit is for the dump of a database in a server.
	dumpLimit = 2 * time.Hour
)

// Containers is what is needed of the engine for databases in a server, whose
// own programs dump and restore them.
type Containers interface {
	List(ctx context.Context, stack string) ([]appliance.Container, error)
	Stream(ctx context.Context, id string, p appliance.Program) error
}

// Data copies, measures, saves and loads the data of stacks in units of their own.
type Data struct {
	runner
	containers Containers
	files      host.Files
	log        *slog.Logger
}

var _ appliance.Data = Data{}

// NewData gives a Data that runs "PROGRAM internal-migrate", as [New] does. log
// is told which sockets and devices were not copied.
func NewData(units Units, program string, containers Containers, log *slog.Logger) Data {
	return Data{runner: runner{units, program}, containers: containers, files: host.NewFiles(), log: log}
}

// Copy implements [appliance.Data].
func (d Data) Copy(ctx context.Context, from, to appliance.DataPlace, facts map[string]stacks.Fact) (appliance.Copied, error) {
	if err := known(from, facts); err != nil {
		return appliance.Copied{}, err
	}
	o := work(verbCopy, to)
	o.request.Facts = factsOf(facts)
	done, err := d.bring(ctx, o, from, to)
	if err == nil {
		err = o.complete(done.Facts)
	}
	return appliance.Copied{Bytes: done.Bytes, Facts: done.Facts}, err
}

// CopyFiles implements [appliance.Data].
func (d Data) CopyFiles(ctx context.Context, from, to appliance.DataPlace) (int64, error) {
	o := work(verbFiles, to)
	o.limit = filesLimit
	done, err := d.bring(ctx, o, from, to)
	return done.Bytes, err
}

// bring shows an order both places and carries it out.
func (d Data) bring(ctx context.Context, o order, from, to appliance.DataPlace) (outcome, error) {
	verb := o.request.Verb
	err := errors.Join(together(from, to), o.from(from, writesBeside(verb)), o.to(targets(from, to)))
	if err != nil {
		return outcome{}, err
	}
	if verb == verbFiles {
		o.withoutServers()
	}
	done, err := d.do(ctx, o)
	if done.Skips > 0 {
		d.log.Warn("sockets, pipes and devices were not copied", "stack", to.Stack, "number", done.Skips, "first", strings.Join(done.Skipped, ", "))
	}
	return done, err
}

// together wants two places to be those of one stack and one user: the child has
// one uid, and could not read the one or not write the other.
func together(from, to appliance.DataPlace) error {
	switch {
	case from.Stack != to.Stack:
		return fmt.Errorf("copy data of stack %s to stack %s", from.Stack, to.Stack)
	case from.User != to.User:
		detail := fmt.Sprintf("it belongs to user %d, and the new release runs as user %d", from.User, to.User)
		return (&Failure{Reason: NoCopy, Detail: detail}).problem(to.Stack)
	}
	return nil
}

// targets is a place with every database of from: where the new release keeps it,
// or else where it was, since the new release may know it by another name.
func targets(from, to appliance.DataPlace) appliance.DataPlace {
	databases := map[string]stacks.Database{}
	for name, db := range from.Databases {
		if there, ok := to.Databases[name]; ok && there.Engine == db.Engine {
			db = there
		}
		if _, ok := to.Volumes[db.Volume]; ok || db.Engine == stacks.Postgres {
			databases[name] = db
		}
	}
	to.Databases = databases
	return to
}

// Size implements [appliance.Data].
func (d Data) Size(ctx context.Context, at appliance.DataPlace) (int64, error) {
	o := work(verbSize, at)
	if err := o.from(at, writesBeside(verbSize)); err != nil {
		return 0, err
	}
	done, err := d.do(ctx, o)
	return done.Bytes, err
}

// Facts implements [appliance.Data].
func (d Data) Facts(ctx context.Context, at appliance.DataPlace, facts map[string]stacks.Fact) (map[string]int64, error) {
	if len(facts) == 0 {
		return map[string]int64{}, nil
	}
	if err := known(at, facts); err != nil {
		return nil, err
	}
	o := work(verbFacts, at)
	if err := o.from(only(at, func(name string, _ stacks.Database) bool { return measured(facts, name) }), writesBeside(verbFacts)); err != nil {
		return nil, err
	}
	o.request.Facts = factsOf(facts)
	done, err := d.do(ctx, o)
	if err == nil {
		err = o.complete(done.Facts)
	}
	return done.Facts, err
}

// known refuses a fact of a database that is not there.
func known(at appliance.DataPlace, facts map[string]stacks.Fact) error {
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		if _, ok := at.Databases[facts[name].Database]; !ok {
			f := &Failure{Reason: BadFact, Name: name, Detail: "there is no database " + facts[name].Database}
			return f.problem(at.Stack)
		}
	}
	return nil
}

func measured(facts map[string]stacks.Fact, database string) bool {
	for _, f := range facts {
		if f.Database == database {
			return true
		}
	}
	return false
}

// only is a place with some of its databases, and the volumes that they are in.
func only(at appliance.DataPlace, wanted func(name string, db stacks.Database) bool) appliance.DataPlace {
	some := at
	some.Databases, some.Volumes = map[string]stacks.Database{}, map[string]string{}
	for name, db := range at.Databases {
		if !wanted(name, db) {
			continue
		}
		some.Databases[name] = db
		if dir, ok := at.Volumes[db.Volume]; ok && db.Engine == stacks.SQLite {
			some.Volumes[db.Volume] = dir
		}
	}
	return some
}

func inFile(_ string, db stacks.Database) bool    { return db.Engine != stacks.Postgres }
func inAServer(_ string, db stacks.Database) bool { return db.Engine == stacks.Postgres }

// Drop implements [appliance.Data].
func (d Data) Drop(ctx context.Context, at appliance.DataPlace) error {
	at = only(at, inAServer)
	if len(at.Databases) == 0 {
		return nil
	}
	o := work(verbDrop, at)
	if err := o.to(at); err != nil {
		return err
	}
	_, err := d.do(ctx, o)
	return err
}

// Halt implements [appliance.Data]. What is ended leaves its work unfinished: who
// wants the result asks for it again.
func (d Data) Halt(ctx context.Context, stack string) error {
	units := []string{UnitName(stack)}
	for _, verb := range dataVerbs() {
		units = append(units, DataUnit(verb, stack))
	}
	for _, unit := range units {
		free, err := d.free(ctx, unit)
		if err != nil {
			return err
		}
		if free {
			continue
		}
		stopped := d.units.Stop(ctx, unit)
		if free, err = d.free(ctx, unit); err != nil || !free {
			return errors.Join(fmt.Errorf("%s is still at work", unit), stopped, err)
		}
	}
	return nil
}

// do runs an order and gives what came of it.
func (d Data) do(ctx context.Context, o order) (outcome, error) {
	rep, err := d.run(ctx, o)
	if err != nil {
		return outcome{}, err
	}
	if rep.Done == nil {
		return outcome{}, o.brokenOff(errors.New("its report is incomplete"))
	}
	return *rep.Done, nil
}
