// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"rochdale/appliance"
)

// fstabBound is how many bytes of /etc/fstab are read.
const fstabBound = 256 << 10

// bootCheck tells of file systems that hold the system or our data and that are not
// checked at boot: an ext4 whose journal was torn by a power cut is not mounted then,
// and the machine does not come up. Others mend themselves when they are mounted.
func bootCheck(_ context.Context, d Doctor) (list []appliance.Finding, err error) {
	path := d.at("etc/fstab")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	mounts, err := readFstab(io.LimitReader(f, fstabBound))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for _, point := range mounts.holding("/", appliance.Paths{}.Var()) {
		if m := mounts[point]; m.unchecked() && !d.checkedEarly(point) {
			list = append(list, warning("doctor.boot-check", "mount", point, "path", path, "line", m.checkedLine()))
		}
	}
	return list, nil
}

// checkedEarly tells whether what Debian starts from memory before the system checked
// the root itself; it asks /etc/fstab for nothing.
func (d Doctor) checkedEarly(point string) bool {
	if point != "/" {
		return false
	}
	_, err := os.Stat(d.at("run/initramfs/fsck-root"))
	return err == nil
}

// mounts are the lines of a file like /etc/fstab by mount point; of two for one, the
// last.
type mounts map[string]mount

// mount is one line: device, mount point, kind, options, and two numbers that may be
// left out and are 0 then. The last one says when it is checked at boot, 0: never.
type mount struct{ fields []string }

// readFstab reads what it understands. Comments and lines that are none of this form
// are left out, as the system does it.
func readFstab(r io.Reader) (mounts, error) {
	found := mounts{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, fstabBound+1)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") {
			continue
		}
		found[filepath.Clean(fields[1])] = mount{fields}
	}
	return found, lines.Err()
}

// holding are the mount points on which these paths lie, each once; none for a path
// of which the file says nothing.
func (m mounts) holding(paths ...string) (points []string) {
	seen := map[string]bool{}
	for _, path := range paths {
		for at := path; ; at = filepath.Dir(at) {
			if _, known := m[at]; known {
				if !seen[at] {
					points = append(points, at)
				}
				seen[at] = true
				break
			}
			if at == "/" {
				break
			}
		}
	}
	return points
}

func (m mount) unchecked() bool {
	return m.fields[2] == "ext4" && (len(m.fields) < 6 || m.fields[5] == "0")
}

// checkedLine is the line as it should be: the root is checked first, all else after.
func (m mount) checkedLine() string {
	dump, pass := "0", "2"
	if len(m.fields) > 4 {
		dump = m.fields[4]
	}
	if filepath.Clean(m.fields[1]) == "/" {
		pass = "1"
	}
	return strings.Join(append(m.fields[:4:4], dump, pass), " ")
}
