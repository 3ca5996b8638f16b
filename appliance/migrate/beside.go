// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// What comes into a folder that is in use is written beside its place first, and takes
// it when it is on the disk: whoever looks there sees what was or what came, and never
// a part of it, also after a full disk or a power cut.

// besideBegin begins the names of what is not in its place yet.
const besideBegin = ".rochdale-mend-"

// besideForm are those names. Nobody guesses one before it is there, and no platform
// calls a file of its own so.
var besideForm = regexp.MustCompile(`^\.rochdale-mend-[A-Z2-7]{26}$`)

// beside is a new name in a folder.
func beside(dir string) string { return path.Join(dir, besideBegin+rand.Text()) }

// isBeside tells whether a path is one that an interrupted run left.
func isBeside(rel string) bool { return besideForm.MatchString(path.Base(rel)) }

// sweep removes what an interrupted run left below a folder. A folder that can not be
// looked into can have nothing from us in it. Only the end of the context is an error.
func (t *tree) sweep(ctx context.Context, dir string, depth int) error {
	// What goes while it is looked at is of no interest.
	_ = names(t.to, dir, func(name string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel := path.Join(dir, name)
		if isBeside(rel) {
			_ = t.remove(rel)
			return nil
		}
		if info, err := t.to.Lstat(rel); err == nil && info.IsDir() && depth < maxDepth {
			return t.sweep(ctx, rel, depth+1)
		}
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// fileBeside copies a file that takes its place later.
func (t *tree) fileBeside(ctx context.Context, rel string, info fs.FileInfo) error {
	temp := beside(path.Dir(rel))
	if err := t.copyTo(ctx, rel, info, temp); err != nil {
		return err
	}
	t.done.Back++
	return t.await(settling{rel: rel, temp: temp})
}

// linkBeside makes a link that takes its place later.
func (t *tree) linkBeside(target, rel string, at time.Time) error {
	temp := beside(path.Dir(rel))
	if err := t.linkTo(target, temp, at); err != nil {
		return err
	}
	t.done.Back++
	return t.await(settling{rel: rel, temp: temp})
}

// copyTo makes a copy of a file under a name that nothing has, with its mode and time.
// One that can not be made whole is removed.
func (t *tree) copyTo(ctx context.Context, rel string, info fs.FileInfo, temp string) error {
	from, err := t.from.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	now, err := t.still(from, info)
	if err != nil {
		return err
	}
	if err = t.write(ctx, temp, from, now); err == nil {
		err = linkTime(t.to, temp, now.ModTime())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", shown(rel), err), t.remove(temp))
	}
	return nil
}

func (t *tree) linkTo(target, temp string, at time.Time) error {
	err := t.to.Symlink(target, temp)
	if err == nil {
		err = linkTime(t.to, temp, at)
	}
	if err != nil {
		return errors.Join(err, t.remove(temp))
	}
	return nil
}

// appear lets what is on the disk take its place. A folder there makes way first.
func (t *tree) appear(s settling) error {
	have, err := t.to.Lstat(s.rel)
	switch {
	case err == nil && t.once:
		return fmt.Errorf("%s is there already", shown(s.rel))
	case err == nil && have.IsDir():
		err = t.remove(s.rel)
	case gone(err):
		err = nil
	}
	if err != nil {
		return err
	}
	return t.to.Rename(s.temp, s.rel)
}

// discard removes what did not come to take its place.
func (t *tree) discard() (err error) {
	for _, s := range t.wait {
		if s.temp != "" {
			err = errors.Join(err, t.remove(s.temp))
		}
	}
	t.wait = nil
	return err
}
