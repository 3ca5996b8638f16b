// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

const pointFile, wholeFile = "point.json", "whole"

// point is the snapshot that this recovery goes by; one that was chosen stays
// chosen, whatever is interrupted.
func (r *recovery) point() (p appliance.RescuePoint, found bool, err error) {
	found, err = readKept(r.kept(pointFile), &p)
	return p, found, err
}

func (r *recovery) find() (step.Step, bool) {
	return step.Step{
		ID:       "find",
		Effects:  effect("writes", r.kept(pointFile)),
		Estimate: 10 * time.Second,
		Done: func(context.Context) (bool, error) {
			_, found, err := r.point()
			return found, err
		},
		Do: func(ctx context.Context, report step.Report) error {
			p, err := r.rescue.Find(ctx)
			if err != nil {
				return err
			}
			report(p.Repository + ": " + p.Made.UTC().Format(appliance.ToTheMinute))
			return r.keepJSON(pointFile, p)
		},
	}, true
}

func (r *recovery) fetch() (step.Step, bool) {
	return step.Step{
		ID:       "fetch",
		Effects:  effect("writes", r.kept("box")),
		Estimate: 20 * time.Second,
		Done: func(context.Context) (bool, error) {
			_, err := os.Stat(r.laid(wholeFile))
			return err == nil, nil
		},
		Do: func(ctx context.Context, _ step.Report) error {
			p, found, err := r.point()
			if err != nil || !found {
				return errors.Join(err, errors.New("no snapshot was chosen"))
			}
			if err := r.rescue.Fetch(ctx, p, r.kept("box")); err != nil {
				return err
			}
			if err := r.Files.SyncAll(r.kept("box")); err != nil { // who wrote it did not wait for the disk
				return err
			}
			return r.put(wanted{r.laid(wholeFile), nil, ours(privateFile)})
		},
	}, true
}

// box puts the configuration of the lost machine in place, and goes by it from here
// on. It always runs: later steps read what it finds.
func (r *recovery) box() (step.Step, bool) {
	return step.Step{
		ID:      "box",
		Effects: effect("writes", r.Paths.ConfigDir()),
		Do: func(context.Context, step.Report) error {
			m, _, err := appliance.Rescued(r.Paths, r.kept("box"))
			if err != nil {
				return err
			}
			if err := r.bringConfig(); err != nil {
				return err
			}
			if err := r.choose(m); err != nil {
				return err
			}
			if err := r.bringRecord(); err != nil {
				return err
			}
			return r.keepRecord()
		},
	}, true
}

// bringConfig copies the files beside the configuration. Those that are there stay:
// the kit's own, and those of an earlier run.
func (r *recovery) bringConfig() error {
	but := []string{r.Paths.Config(), r.Paths.Recovery(), r.firewallPath()}
	beyond, err := r.foreignCredentials()
	if err != nil {
		return err
	}
	but = append(but, beyond...)
	return r.bring(r.Paths.ConfigDir(), but, func(info fs.FileInfo) host.Attr {
		if info.IsDir() {
			return ours(info.Mode().Perm())
		}
		return ours(info.Mode().Perm() &^ 0o111) // settings and keys: none of them is run
	})
}

// foreignCredentials are files of credentials in the snapshot that hold more than a kit
// may bring: the snapshot is where the kit says.
func (r *recovery) foreignCredentials() (all []string, err error) {
	dir := filepath.Dir(r.Paths.RepositoryEnv("any"))
	files, err := filepath.Glob(filepath.Join(r.laid(dir), "*.env"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		path := filepath.Join(dir, filepath.Base(file))
		if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() {
			continue // nothing else is brought
		}
		line, err := foreignLine(file)
		if err != nil {
			return nil, err
		}
		if line == "" {
			continue
		}
		all = append(all, path)
		if _, err := os.Lstat(path); err != nil {
			name := strings.TrimSuffix(filepath.Base(file), ".env")
			r.result.Findings = append(r.result.Findings, finding(appliance.Warning, "recover.option-left-out", "repository", name, "option", appliance.ShortName(line)))
		}
	}
	return all, nil
}

// foreignLine gives what is foreign in a file of credentials. One that is too large to be
// one is foreign as a whole.
func foreignLine(file string) (line string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, appliance.MaxCredentials+1))
	if err != nil {
		return "", err
	}
	if len(data) > appliance.MaxCredentials {
		return "?", nil
	}
	return appliance.KitCredentials(data), nil
}

// bring copies a folder of the lost machine, file by file, and never over a file.
func (r *recovery) bring(dir string, but []string, as func(fs.FileInfo) host.Attr) error {
	from := r.laid(dir)
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case contains(but, to) && e.IsDir():
			return fs.SkipDir
		case contains(but, to) || strings.Contains(filepath.Base(to), ".rochdale-tmp"):
			return nil
		case e.IsDir():
			a := as(info)
			a.Mode |= 0o100 // it is passed through
			return r.makeFolder(folder{to, a})
		case !info.Mode().IsRegular():
			return nil
		}
		if _, err := os.Lstat(to); err == nil {
			return nil
		}
		return r.copyFile(path, to, as(info))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (r *recovery) copyFile(from, to string, a host.Attr) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	return errors.Join(r.Files.WriteFrom(to, source, a), source.Close())
}

// choose goes by the newer one of two documents: the kit's and the snapshot's.
func (r *recovery) choose(m appliance.BackupManifest) error {
	config, err := r.legacy.Config()
	if err != nil {
		return err
	}
	if saved, err := appliance.ReadConfig(r.laid(r.Paths.Config())); err == nil && m.Made.After(r.legacy.Issued) {
		config = saved
	}
	// The snapshot is where the kit says, so it may bring no more than the kit.
	config, left := config.WithoutPrograms()
	for _, one := range left {
		r.result.Findings = append(r.result.Findings, finding(appliance.Warning, "recover.option-left-out", "repository", one.Repository, "option", appliance.OptionName(one.Option)))
	}
	for _, name := range sortedKeys(config.Stacks) {
		if _, saved := m.Stacks[name]; !saved {
			r.result.Findings = append(r.result.Findings, finding(appliance.Warning, "recover.stack-missing", "stack", name))
		}
	}
	r.config, r.o = config, RecoverOptions(config, r.o)
	r.tell()
	r.f.RootPEM = nil
	if config.TLS.ACMERoot != "" {
		if r.f.RootPEM, err = readRoot(r.real(config.TLS.ACMERoot)); err != nil {
			return appliance.Problem("install.option-acme-root", err, "file", config.TLS.ACMERoot, "detail", err)
		}
	}
	return nil
}

// bringRecord keeps for whose pages kits are sealed, with the numbers going on from
// those of the kit. When the pages were printed after the snapshot was made, all
// that is known of them is that they opened the kit.
func (r *recovery) bringRecord() error {
	if _, err := os.Lstat(r.Paths.Recovery()); err == nil {
		return nil
	}
	record, err := appliance.ReadRecoveryFile(r.laid(r.Paths.Recovery()))
	if err != nil {
		return err
	}
	if record.Recipient != r.legacy.Recipient && record.Printed.Before(r.legacy.Issued) {
		record = appliance.RecoveryRecord{Recipient: r.legacy.Recipient, Printed: r.legacy.Issued}
	}
	record.Kit = appliance.SealedKit{Serial: max(record.Kit.Serial, r.legacy.Serial)}
	record.Published = nil
	delete(record.IDs, appliance.BoxRepository) // it is lost; this machine's own is made with the first backup
	return record.Keep(r.Paths, r.Files)
}

// certificates puts what the edge keeps in place before it starts: nobody has to
// be asked for a new certificate.
func (r *recovery) certificates() (step.Step, bool) {
	dir := filepath.Join(r.Paths.Edge(), "caddy")
	return step.Step{
		ID:      "certificates",
		Effects: effect("writes", dir),
		Do: func(context.Context, step.Report) error {
			owner, err := r.edgeOwner()
			if err != nil {
				return err
			}
			return r.bring(dir, []string{filepath.Join(dir, "locks")}, func(info fs.FileInfo) host.Attr {
				a := owner
				a.Mode = info.Mode().Perm() &^ 0o077
				return a
			})
		},
	}, true
}

func (r *recovery) history() (step.Step, bool) {
	return step.Step{
		ID:      "history",
		Effects: effect("changes", r.Paths.State()),
		Do: func(ctx context.Context, _ step.Report) error {
			_, file, err := appliance.Rescued(r.Paths, r.kept("box"))
			if err != nil {
				return err
			}
			return r.rescue.Adopt(ctx, file)
		},
	}, true
}

// owner stops the lost machine from writing, should it come back.
func (r *recovery) owner() (step.Step, bool) {
	return step.Step{
		ID:       "owner",
		Effects:  effect("writes", appliance.OwnerName),
		Estimate: 5 * time.Second,
		Do: func(ctx context.Context, _ step.Report) error {
			missed, err := r.rescue.TakeOver(ctx, r.legacy.Epoch)
			if err != nil {
				return err
			}
			for _, name := range missed {
				if name != appliance.BoxRepository { // this machine's own is made later
					r.result.Findings = append(r.result.Findings, finding(appliance.Warning, "recover.not-owned", "repository", name))
				}
			}
			return nil
		},
	}, true
}

// stacks starts every stack that the snapshot has, on its data.
func (r *recovery) stacks() (step.Step, bool) {
	return step.Step{
		ID:       "stacks",
		Effects:  effect("starts", sortedKeys(r.config.Stacks)...),
		Estimate: time.Minute,
		Do: func(ctx context.Context, report step.Report) error {
			m, _, err := appliance.Rescued(r.Paths, r.kept("box"))
			if err != nil {
				return err
			}
			p, _, err := r.point()
			if err != nil {
				return err
			}
			for _, name := range sortedKeys(m.Stacks) {
				if _, wanted := r.config.Stacks[name]; !wanted {
					continue
				}
				if err := r.rescue.Recover(ctx, name, p, func(note string) { report(name + ": " + note) }); err != nil {
					return fmt.Errorf("stack %s: %w", name, err)
				}
			}
			return nil
		},
	}, true
}

// end is that of an installation; what was kept for the recovery alone goes.
func (r *recovery) end() (step.Step, bool) {
	finish, _ := r.finish()
	return step.Step{
		ID:      "end",
		Effects: effect("removes", r.kept()),
		Do: func(ctx context.Context, report step.Report) error {
			p, found, err := r.point()
			if err != nil {
				return err
			}
			if found {
				r.result.Restored = &p
			}
			if err := finish.Do(ctx, report); err != nil {
				return err
			}
			// It ends here. Whoever did not see it end may run it again.
			if err := amend(r.Paths, r.Files, func(record *Record) { record.Recovered = r.legacy.Kit }); err != nil {
				return err
			}
			r.result.Findings = slices.DeleteFunc(r.result.Findings, func(f appliance.Finding) bool { return f.ID == appliance.Recovering })
			return r.Files.RemoveFolder(r.kept())
		},
	}, true
}
