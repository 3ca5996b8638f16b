// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance/step"
	"rochdale/stacks"
)

// stackUser is who the stack of these tests runs as. They need root, because
// only root can give a folder to somebody else.
const stackUser = 64321

// owned is owner and mode of a folder, without following a link.
func owned(t *testing.T, path string) (uid int, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid), info.Mode()
}

func wantOwned(t *testing.T, path string, uid int, mode fs.FileMode) {
	t.Helper()
	if gotUID, gotMode := owned(t, path); gotUID != uid || gotMode != fs.ModeDir|mode {
		t.Errorf("%s belongs to %d with %v, want %d with %v", path, gotUID, gotMode, uid, mode)
	}
}

func TestOnlyVolumesBelongToTheStack(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle.Stack.Manifest.User = stackUser
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.boot()
		defer func() { b.stop() }()
		if _, err := b.apply(nil); err != nil {
			t.Fatal(err)
		}
		volume := b.paths.Volume("delivery", 1, "data")
		check := func() {
			t.Helper()
			wantOwned(t, volume, stackUser, 0o700)
			wantOwned(t, filepath.Dir(volume), os.Getuid(), 0o711)
			wantOwned(t, filepath.Dir(filepath.Dir(volume)), os.Getuid(), 0o711)
		}
		check()
		// A power cut between making a folder and giving it away.
		err := errors.Join(os.Chown(filepath.Dir(volume), stackUser, stackUser), os.Chmod(filepath.Dir(volume), 0o700),
			os.Chown(volume, 0, 0), os.Chmod(volume, 0o755))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the next look at the stack
		check()
	})
}

// TestASwappedVolumeIsNotFollowed lets a start be broken off, and finds a link
// where it left the volume.
func TestASwappedVolumeIsNotFollowed(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle.Stack.Manifest.User = stackUser
	foreign := t.TempDir()
	if err := os.Chmod(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	volume := b.paths.Volume("delivery", 1, "data")
	err := errors.Join(os.MkdirAll(filepath.Dir(volume), 0o755), os.Symlink(foreign, volume))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.boot()
		defer func() { b.stop() }()
		if _, err := b.store.ReserveGeneration(t.Context(), "delivery", digest1, 0); err != nil {
			t.Fatal(err)
		}
		_, err := b.apply(nil)
		var inStep *step.Error
		if !errors.As(err, &inStep) || inStep.Step != "data" || !strings.Contains(err.Error(), "not a folder") {
			t.Errorf("a link was taken for a volume: %v", err)
		}
		wantOwned(t, foreign, os.Getuid(), 0o755)
	})
}

// TestImmutableVolumesAreShared has a volume whose files never change beside the
// one with the database.
func TestImmutableVolumesAreShared(t *testing.T) {
	b := newBench(t)
	stack := &b.bundles.bundle.Stack
	stack.Manifest.User = stackUser
	stack.Manifest.Data = map[string]stacks.Volume{"photos": {Immutable: true}, "data": {}}
	stack.Services[1].Mounts = append(stack.Services[1].Mounts, stacks.Mount{Volume: "photos", Target: "/photos"})
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		photos, data := b.paths.Shared("delivery", "photos"), b.paths.Volume("delivery", 1, "data")
		check := func() {
			t.Helper()
			if v := b.serving().spec.Volumes; v["photos"] != photos || v["data"] != data {
				t.Errorf("the container has the volumes %v", v)
			}
			wantOwned(t, photos, stackUser, 0o700)
			wantOwned(t, filepath.Dir(photos), os.Getuid(), 0o711)
		}
		check()
		if _, err := os.Lstat(b.paths.Volume("delivery", 1, "photos")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the generation has photos of its own: %v", err)
		}
		if err := b.d.Restart(t.Context(), "delivery", nil); err != nil {
			t.Fatal(err)
		}
		check()
	})
}
