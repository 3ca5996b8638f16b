// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	cgroupRoot  = "/sys/fs/cgroup"
	groupFolder = "rochdale-test"
	cgroup2     = 0x63677270 // the file system's magic number
)

// unified tells whether the build machine has cgroup v2 alone.
func unified() bool {
	var st syscall.Statfs_t
	return syscall.Statfs(cgroupRoot, &st) == nil && st.Type == cgroup2
}

// groupDirs lists the folder of a machine in every hierarchy of the build machine.
func groupDirs(name string) ([]string, error) {
	if unified() {
		return []string{filepath.Join(cgroupRoot, groupFolder, name)}, nil
	}
	files, err := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, file := range files {
		hierarchy := filepath.Dir(file)
		if target, err := filepath.EvalSymlinks(hierarchy); err != nil || target != hierarchy {
			continue // cpu and cpuacct are often links to one folder
		}
		dirs = append(dirs, filepath.Join(hierarchy, groupFolder, name))
	}
	return dirs, nil
}

// makeGroups makes a machine's groups; memory is its limit in bytes, 0 for none.
func makeGroups(name string, memory int64) ([]string, error) {
	dirs, err := groupDirs(name)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if err := makeGroup(dir); err != nil {
			return nil, err
		}
	}
	if memory > 0 {
		return dirs, limitMemory(dirs, memory)
	}
	return dirs, nil
}

// makeGroup makes one group and its parent. On v1 a new cpuset group has no processors until it gets its parent's; on v2
// controllers have to be handed down.
func makeGroup(dir string) error {
	for _, d := range []string{filepath.Dir(dir), dir} {
		if unified() {
			handDown(filepath.Dir(d))
		}
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(d, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// handDown enables the controllers that tests use for the children of a v2 group. One that the kernel lacks is left out.
func handDown(dir string) {
	for _, controller := range []string{"+memory", "+pids", "+cpu", "+io", "+cpuset"} {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(controller), 0o644)
	}
}

func inherit(dir, file string) error {
	if unified() {
		return nil
	}
	value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file), value, 0o644)
}

// limitMemory sets the limit in whichever hierarchy has the memory controller.
func limitMemory(dirs []string, bytes int64) error {
	for _, dir := range dirs {
		for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
			path := filepath.Join(dir, file)
			if _, err := os.Stat(path); err == nil {
				return os.WriteFile(path, []byte(strconv.FormatInt(bytes, 10)), 0o644)
			}
		}
	}
	return fmt.Errorf("no memory controller on this build machine: a machine's memory can not be limited")
}

// groupsOf reads into which groups a process's child has to be put to be one of the machine whose PID 1 it is: those of the
// controllers as they are, and one of its own beside systemd's where systemd manages the tree.
func groupsOf(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	return parseGroups(string(data), unified()), nil
}

func parseGroups(file string, v2 bool) []string {
	var dirs []string
	for line := range strings.Lines(file) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !strings.Contains(parts[2], groupFolder) {
			continue
		}
		dir, managed := hierarchyDir(parts[1], v2), parts[1] == "" || strings.HasPrefix(parts[1], "name=")
		path := parts[2]
		if managed {
			path = strings.TrimSuffix(path, "/init.scope") + "/testhost"
		}
		dirs = append(dirs, filepath.Join(dir, path))
	}
	return dirs
}

func hierarchyDir(controllers string, v2 bool) string {
	switch {
	case controllers == "" && v2:
		return cgroupRoot
	case controllers == "":
		return filepath.Join(cgroupRoot, "unified")
	default:
		return filepath.Join(cgroupRoot, strings.TrimPrefix(controllers, "name="))
	}
}

// killAll ends every process in a machine's groups and waits until they are gone.
func killAll(ctx context.Context, name string) error {
	dirs, err := groupDirs(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		pids := members(dirs)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is what is wanted
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("processes of machine %s do not end: %v: %w", name, pids, err)
		}
	}
}

// members lists the processes in groups and their subgroups.
func members(dirs []string) []int {
	var pids []int
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return nil //nolint:nilerr // groups come and go while machines end
			}
			data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for field := range strings.FieldsSeq(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// removeGroups removes a machine's empty groups, children first; and the common parent when no machine is left.
func removeGroups(ctx context.Context, name string) error {
	dirs, err := groupDirs(name)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := removeGroup(ctx, dir); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(dir)) // fails while other machines live
	}
	return nil
}

// removeGroup tries for a moment, since a group counts its dying processes until they are reaped.
func removeGroup(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		var all []string
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		slices.Reverse(all)
		var last error
		for _, path := range all {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				last = err
			}
		}
		if last == nil {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return last
		}
	}
}
