// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"rochdale/appliance/host"
)

func (p Probe) packages(ctx context.Context) map[string]host.Package {
	all, err := host.Apt{Runner: p.Runner}.Packages(ctx)
	if err != nil {
		return nil // no dpkg: the system is refused for other reasons
	}
	return all
}

func (p Probe) apt(ctx context.Context, f *Facts) {
	f.Held = strings.Fields(p.ask(ctx, "apt-mark", "showhold"))
	for name, pkg := range f.Packages {
		if pkg.HalfDone() {
			f.HalfDone = append(f.HalfDone, name)
		}
	}
	slices.Sort(f.HalfDone)
	for _, lock := range []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"} {
		if f.AptBusy = p.lockHolder(lock); f.AptBusy != "" {
			return
		}
	}
}

// lockHolder names the process that holds a lock on the file.
func (p Probe) lockHolder(file string) string {
	info, err := os.Stat(p.path(file))
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	inode := ":" + strconv.FormatUint(stat.Ino, 10)
	for line := range strings.Lines(string(p.file("/proc/locks"))) {
		// 1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasSuffix(f[5], inode) {
			continue
		}
		comm := strings.TrimSpace(string(p.file(filepath.Join("/proc", f[4], "comm"))))
		return orUnknown(comm) + " (" + f[4] + ")"
	}
	return ""
}

// mirrors asks each of the package sources for its signed index.
func (p Probe) mirrors(ctx context.Context, f *Facts) {
	uris, err := p.try(ctx, "apt-get", "-o", "Debug::NoLocking=1", "--print-uris", "update")
	if err != nil {
		f.AptError = err.Error()
		return
	}
	indexes := releaseFiles(uris)
	f.Mirrors = len(indexes)
	proxy := ""
	for line := range strings.Lines(p.ask(ctx, "apt-config", "dump", "--format", "%f %v%n", "Acquire::http::Proxy")) {
		if v := strings.Fields(line); len(v) == 2 && v[0] == "Acquire::http::Proxy" {
			proxy = v[1]
		}
	}
	failed := make([]string, len(indexes))
	var wait sync.WaitGroup
	for i, address := range indexes {
		if !strings.HasPrefix(address, "http") {
			continue // a disc or a mirror list: apt will tell
		}
		wait.Go(func() {
			if err := p.Net.Reach(ctx, address, proxy); err != nil {
				failed[i] = address
			}
		})
	}
	wait.Wait()
	for _, address := range failed {
		if address != "" {
			f.Unreachable = append(f.Unreachable, address)
		}
	}
}

// releaseFiles are the addresses of the signed indexes in what apt says that an
// update would fetch: 'http://.../InRelease' name size.
func releaseFiles(uris string) []string {
	var list []string
	for line := range strings.Lines(uris) {
		quoted, _, _ := strings.Cut(line, " ")
		if address := strings.Trim(quoted, "'"); strings.HasSuffix(address, "/InRelease") {
			list = append(list, address)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// downloads asks apt what the missing packages would fetch. Without package
// lists, as on a machine that was just made, nobody can know.
func (p Probe) downloads(ctx context.Context, f Facts) ([]host.Download, bool) {
	need := missing(f, packagesFor(f))
	if len(need) == 0 {
		return nil, true
	}
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	list, err := host.Apt{Runner: p.Runner}.Downloads(ctx, need...)
	return list, err == nil && len(list) > 0
}
