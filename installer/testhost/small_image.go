// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SmallModules is the folder of the kernel modules in a small machine, in the order of their names. The program loads them; the
// last one is the driver of the disk, which it must not load before it has its order.
const SmallModules = "/modules"

// smallDrivers are the modules that Debian's kernel does not have built in.
func smallDrivers() []string {
	return []string{"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"}
}

// smallImage is what a small machine boots.
type smallImage struct{ Kernel, Initramfs string }

func makeSmallImage(ctx context.Context, log io.Writer, o SmallOptions) (smallImage, error) {
	tree, err := debianKernel(ctx, log)
	if err != nil {
		return smallImage{}, err
	}
	kernel, err := one(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil {
		return smallImage{}, err
	}
	program, err := os.ReadFile(o.Program)
	if err != nil {
		return smallImage{}, err
	}
	var a archive
	a.folder("dev")
	a.device("dev/console", 5, 1)
	a.device("dev/null", 1, 3) // Go opens it when one of the first three files is closed
	a.folder(strings.TrimPrefix(SmallModules, "/"))
	for i, name := range smallDrivers() {
		path, err := one(filepath.Join(tree, "lib/modules/*/kernel/drivers/*/"+name+".ko*"))
		if err != nil {
			return smallImage{}, err
		}
		module, err := readModule(ctx, path)
		if err != nil {
			return smallImage{}, err
		}
		a.file(fmt.Sprintf("%s/%d-%s.ko", strings.TrimPrefix(SmallModules, "/"), i, name), 0o644, module)
	}
	a.file("init", 0o755, program)
	image := smallImage{Kernel: kernel, Initramfs: filepath.Join(o.Dir, "initramfs")}
	return image, os.WriteFile(image.Initramfs, a.bytes(), 0o600)
}

// readModule reads a kernel module; since Debian 13 they are packed.
func readModule(ctx context.Context, path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		return os.ReadFile(path)
	}
	text, err := run(ctx, "xz", "-dc", path)
	return []byte(text), err
}

func one(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s: %d files, %w", pattern, len(found), errors.Join(err, os.ErrNotExist))
	}
	return found[0], nil
}

// debianKernel gives the unpacked package of a cloud kernel: one that is there, or that which apt would install here now.
func debianKernel(ctx context.Context, log io.Writer) (string, error) {
	if there, err := filepath.Glob(filepath.Join(CacheDir(), "kernel", "linux-image-*-amd64")); err != nil || len(there) > 0 {
		return slices.Max(append(there, "")), err
	}
	name, err := kernelPackage(ctx)
	if err != nil {
		if _, err := runTo(ctx, log, "apt-get", "update", "-qq"); err != nil {
			return "", fmt.Errorf("refresh the package lists: %w", err)
		}
		if name, err = kernelPackage(ctx); err != nil {
			return "", err
		}
	}
	return cached(ctx, filepath.Join("kernel", name), func(part string) error {
		packed := part + ".deb"
		if err := errors.Join(os.RemoveAll(packed), os.MkdirAll(packed, 0o755)); err != nil {
			return err
		}
		// apt gives it the name that it has in the archive, in the folder that it is started in.
		if _, err := run(ctx, "env", "-C", packed, "apt-get", "download", "-qq", name+":amd64"); err != nil {
			return err
		}
		file, err := one(filepath.Join(packed, "*.deb"))
		if err != nil {
			return err
		}
		if _, err := run(ctx, "dpkg-deb", "-x", file, part); err != nil {
			return err
		}
		return os.RemoveAll(packed)
	})
}

// kernelPackage is the package behind the name that stands for the newest one.
func kernelPackage(ctx context.Context) (string, error) {
	const newest = "linux-image-cloud-amd64"
	out, err := run(ctx, "apt-cache", "depends", "--important", newest+":amd64")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
			return strings.TrimSuffix(name, ":amd64"), nil
		}
	}
	return "", fmt.Errorf("apt knows no kernel behind %s", newest)
}

// archive is a cpio archive in the form that the kernel unpacks:
// https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
type archive struct {
	buf     bytes.Buffer
	entries int
}

func (a *archive) folder(name string)                      { a.add(name, 0o040755, nil, 0, 0) }
func (a *archive) file(name string, mode int, data []byte) { a.add(name, 0o100000|mode, data, 0, 0) }
func (a *archive) device(name string, major, minor int)    { a.add(name, 0o020600, nil, major, minor) }

func (a *archive) add(name string, mode int, data []byte, major, minor int) {
	a.entries++
	a.buf.WriteString("070701")
	// inode, mode, owner, group, links, time, size, device of the file, device it stands for, length of the name, checksum
	for _, n := range []int{a.entries, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0} {
		fmt.Fprintf(&a.buf, "%08X", n)
	}
	a.buf.WriteString(name + "\x00")
	a.align()
	a.buf.Write(data)
	a.align()
}

func (a *archive) align() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

func (a *archive) bytes() []byte {
	a.add("TRAILER!!!", 0, nil, 0, 0)
	return a.buf.Bytes()
}
