// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Door is the one way to restic. Its methods may be called at the same time:
// one repository takes several writers, and whoever needs it alone waits for
// its lock. The appliance's lanes see to it that this is rare. All errors are
// [*Problem]s, but those that a caller's own function gave to [Door.Heal].
type Door struct {
	Program string        // absolute path, from [Program.Install]
	Machine Machine       // runs it
	Cache   string        // folder for restic's cache of distant repositories; restic makes it
	Temp    string        // folder for temporary files, which is there; up to 200 MB
	Wait    time.Duration // for somebody else's lock; 0: 5 minutes
	Answer  time.Duration // for a server that does not answer to Init and Identify; 0: 1 minute
	Memory  int64         // bytes that one call may use; 0: no limit
}

// Init makes the repository and gives its id. One that is there already is
// opened, and its id given. It may be called again after it was interrupted.
func (d *Door) Init(ctx context.Context, r Repository) (id string, err error) {
	id, err = d.Identify(ctx, r)
	if !isProblem(err, "backups.no-repository") && !isProblem(err, "backups.config-lost") {
		return id, err
	}
	if err := r.clearHalfMade(err); err != nil {
		return "", err
	}
	_, err = d.run(ctx, r, "init")
	id, unopened := d.Identify(ctx, r)
	if unopened == nil {
		return id, nil // perhaps somebody else made it meanwhile
	}
	if err == nil {
		err = unopened
	}
	return "", err
}

// clearHalfMade takes the key out of a local repository whose making was
// interrupted before it had a config: restic refuses to go on there. missing
// says why the repository could not be opened.
func (r Repository) clearHalfMade(missing error) error {
	if !isProblem(missing, "backups.config-lost") {
		return nil
	}
	_, err := os.Lstat(filepath.Join(r.URL, "config"))
	if !errors.Is(err, os.ErrNotExist) || r.holds("snapshots") || r.holds("index") || r.holds("data/*") {
		return missing
	}
	keys, err := filepath.Glob(filepath.Join(escape(r.URL), "keys", "*"))
	for _, key := range keys {
		err = errors.Join(err, os.Remove(key))
	}
	if err != nil {
		return r.failed(err)
	}
	return nil
}

// Identify gives the repository's id, which it keeps for ever.
func (d *Door) Identify(ctx context.Context, r Repository) (id string, err error) {
	o, err := d.probe(ctx, r, "cat", "config", "--no-lock")
	if err != nil {
		return "", err
	}
	var config struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(o.Stdout, &config); err != nil || config.ID == "" {
		return "", r.unclear(err)
	}
	return config.ID, nil
}

// probe is a run that does not wait long for a server: restic itself would try
// for a quarter of an hour.
func (d *Door) probe(ctx context.Context, r Repository, args ...string) (output, error) {
	short, cancel := context.WithTimeout(ctx, cmp.Or(d.Answer, time.Minute))
	defer cancel()
	o, err := d.run(short, r, args...)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return o, r.problem("backups.unreachable", errors.Join(err, o.cause()), "address", r.URL)
	}
	return o, err
}

// Unlock removes the locks of programs that are gone; those of living ones stay.
func (d *Door) Unlock(ctx context.Context, r Repository) error {
	_, err := d.once(ctx, r, d.call(r, "unlock"))
	return err
}

// run runs restic, waits for its lock where somebody else has it, and turns
// every code but 0 into a problem. The output is given beside that.
func (d *Door) run(ctx context.Context, r Repository, args ...string) (output, error) {
	return d.runCall(ctx, r, d.call(r, args...))
}

// runCall tries at first without waiting. When a lock is in the way, those of
// programs that are gone are removed, and the others are waited for.
func (d *Door) runCall(ctx context.Context, r Repository, c Call) (output, error) {
	o, err := d.once(ctx, r, c)
	if !isProblem(err, "backups.locked") {
		return o, err
	}
	if err := d.Unlock(ctx, r); err != nil {
		return o, err
	}
	c.Args = append([]string{"--retry-lock=" + cmp.Or(d.Wait, 5*time.Minute).String()}, c.Args...)
	return d.once(ctx, r, c)
}

func (d *Door) once(ctx context.Context, r Repository, c Call) (output, error) {
	if err := r.Validate(); err != nil {
		return output{}, err
	}
	// A damaged lock would stop restic, and no command of it removes one.
	if err := r.setAside("locks", staleLock); err != nil {
		return output{}, err
	}
	e, err := d.Machine.Restic(ctx, c)
	o := read(e)
	switch {
	case err != nil && (o.exit == "" || o.Code == codeInterrupted || ctx.Err() != nil): // else it says itself how it ended
		if !o.silent() {
			err = fmt.Errorf("restic said %s: %w", o.detail(), err)
		}
		return o, r.stopped(ctx, err)
	case o.Code != codeOK:
		return o, r.explain(o)
	default:
		return o, nil
	}
}

// call completes a command. Distant repositories have a cache; the others are
// as near as it would be.
func (d *Door) call(r Repository, args ...string) Call {
	all := []string{"--json", "--quiet", "--repo=" + r.URL}
	if r.Kind() == Local {
		all = append(all, "--no-cache")
	} else {
		all = append(all, "--cache-dir="+d.Cache, "--cleanup-cache")
	}
	for _, o := range r.Options {
		all = append(all, "--option="+o)
	}
	return Call{
		Repository: r.Name, Program: d.Program, Args: append(all, args...), Env: d.env(1),
		EnvFile: r.EnvFile, PasswordFile: r.PasswordFile, Memory: d.Memory,
	}
}

// briskly is [Door.call] for what is done while somebody waits, or holds a lock for
// long: with a second processor it takes two thirds of the time, and no more memory.
// Its unit has little weight, so the platform goes before it on both.
func (d *Door) briskly(r Repository, args ...string) Call {
	c := d.call(r, args...)
	c.Env = d.env(2)
	return c
}

// env keeps restic small: it is the neighbour of a platform that serves people.
func (d *Door) env(processors int) []string {
	env := []string{"LC_ALL=C.UTF-8", "TZ=UTC", "TMPDIR=" + d.Temp, "GOMAXPROCS=" + strconv.Itoa(processors)}
	if d.Memory > 0 {
		// The rest is for what Go's limit does not count.
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(d.Memory*3/4, 10))
	}
	return env
}

// unclear is an answer of a run that went well, but that can not be understood.
func (r Repository) unclear(err error) *Problem {
	unknown := errors.New("restic's answer is not of the known form")
	if err == nil {
		return r.failed(unknown)
	}
	return r.failed(fmt.Errorf("%w: %w", unknown, err))
}

func isProblem(err error, id string) bool {
	var p *Problem
	return errors.As(err, &p) && p.ID == id
}
