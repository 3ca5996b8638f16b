// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// platform is what differs between the architectures that QEMU emulates.
type platform struct {
	Arch    string // Debian's and Go's name
	Emulate string // binfmt's name of the user emulation
	Program string
	Package string
	Machine []string
	Console string
}

func platforms() map[string]platform {
	return map[string]platform{
		"arm64": {"arm64", "qemu-aarch64", "qemu-system-aarch64", "qemu-system-arm",
			[]string{"-M", "virt", "-cpu", "cortex-a72"}, "ttyAMA0"},
		"amd64": {"amd64", "qemu-x86_64", "qemu-system-x86_64", "qemu-system-x86",
			[]string{"-M", "q35", "-cpu", "max"}, "ttyS0"},
	}
}

// QEMUNeeds lists what virtual machines of an architecture need on the build machine, beside Needs.
func QEMUNeeds(arch string) []Package {
	list := []Package{{"qemu-utils", "qemu-img"}, {"e2fsprogs", "mke2fs"}, {"mount", "mount"}}
	if p, ok := platforms()[arch]; ok {
		list = append(list, Package{p.Package, p.Program})
	}
	if arch != runtime.GOARCH {
		list = append(list, Package{"qemu-user-static", "qemu-aarch64-static"})
	}
	return list
}

// imageRecipe is the bare server with a kernel, and the two things that a walk from outside needs: SSH and its address.
func imageRecipe(suite, arch string) recipe {
	r := baseRecipe(suite)
	r.Arch = arch
	r.Packages = append(r.Packages, "linux-image-cloud-"+arch, "initramfs-tools", "openssh-server", "kmod", "udev")
	r.Files = map[string]string{
		"etc/initramfs-tools/conf.d/testhost":        "MODULES=list\n",
		"etc/initramfs-tools/modules":                "virtio_pci\nvirtio_blk\next4\n",
		"etc/apt/sources.list":                       hostMirrors().sourcesList(suite),
		"etc/fstab":                                  "/dev/vda / ext4 defaults 0 1\n",
		"usr/local/lib/testhost-config":              configScript(),
		"etc/systemd/system/testhost-config.service": configUnit(),
		"etc/ssh/sshd_config.d/testhost.conf":        "PermitRootLogin prohibit-password\nMaxSessions 100\nUseDNS no\n",
	}
	r.Enable = []string{"systemd-networkd.service", "testhost-config.service", "ssh.service"}
	r.Mask = []string{"apt-daily.timer", "apt-daily-upgrade.timer", "systemd-networkd-wait-online.service"}
	return r
}

func configUnit() string {
	return `[Unit]
Description=Take this test machine's name and address from the kernel's command line
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target systemd-networkd.service
RequiresMountsFor=/run /etc

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /usr/local/lib/testhost-config

[Install]
WantedBy=sysinit.target
`
}

func configScript() string {
	return `set -eu
for word in $(cat /proc/cmdline); do
  case $word in
    testhost.name=*) name=${word#*=} ;;
    testhost.address=*) address=${word#*=} ;;
    testhost.gateway=*) gateway=${word#*=} ;;
    testhost.resolver=*) resolver=${word#*=} ;;
    testhost.proxy=*) proxy=${word#*=} ;;
  esac
done
hostname "$name"
echo "$name" >/etc/hostname
grep -q " $name\$" /etc/hosts 2>/dev/null || printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >>/etc/hosts
echo "nameserver $resolver" >/etc/resolv.conf
rm -f /etc/apt/apt.conf.d/90testhost-proxy
test -z "${proxy:-}" || echo "Acquire::http::Proxy \"$proxy\";" >/etc/apt/apt.conf.d/90testhost-proxy
mkdir -p /run/systemd/network
printf '[Match]\nName=en* eth*\n\n[Network]\nAddress=%s/24\nGateway=%s\nIPv6AcceptRA=no\n' "$address" "$gateway" >/run/systemd/network/10-testhost.network
`
}

// image is a prepared disk with what boots it.
type image struct{ Disk, Kernel, Initrd, Key string }

// prepare returns the image of a suite and architecture with a disk of that size in bytes. Preparing a foreign architecture
// takes some minutes, once; a disk of another size some seconds.
func prepare(ctx context.Context, suite string, p platform, disk int64) (image, error) {
	r := imageRecipe(suite, p.Arch)
	tree, err := cached(ctx, filepath.Join("qemu", r.key()), func(part string) error { return r.makeTree(ctx, part, p) })
	if err != nil {
		return image{}, err
	}
	name := filepath.Join("qemu", fmt.Sprintf("%s-%dM.raw", r.key(), disk>>20))
	path, err := cached(ctx, name, func(part string) error {
		_, err := run(ctx, "mke2fs", "-q", "-t", "ext4", "-d", filepath.Join(tree, "root"), part, strconv.FormatInt(disk>>10, 10)+"K")
		return err
	})
	return image{Disk: path, Kernel: filepath.Join(tree, "vmlinuz"), Initrd: filepath.Join(tree, "initrd"), Key: filepath.Join(tree, "key")}, err
}

// makeTree fills dir with root, vmlinuz, initrd and key.
func (r recipe) makeTree(ctx context.Context, dir string, p platform) error {
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	public, err := makeKey(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	r.Files = maps.Clone(r.Files) // the key of the cache is made of them
	r.Files["root/.ssh/authorized_keys"] = public
	if err := r.debootstrap(ctx, root, p); err != nil {
		return err
	}
	for pattern, to := range map[string]string{"vmlinuz-*": "vmlinuz", "initrd.img-*": "initrd"} {
		found, err := filepath.Glob(filepath.Join(root, "boot", pattern))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%s in the new root: %v, %w", pattern, found, errors.Join(err, os.ErrNotExist))
		}
		if _, err := run(ctx, "cp", "--", found[0], filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	return clean(root)
}

// debootstrap fills a root in two stages, the second under user emulation where the architecture is not the build machine's.
// The files come between them, since the second stage makes the initial ramdisk.
func (r recipe) debootstrap(ctx context.Context, root string, p platform) error {
	mirror, err := hostMirrors().archive()
	if err != nil {
		return err
	}
	_, err = run(ctx, "nice", "-n", "5", "debootstrap", "--foreign", "--arch="+r.Arch, "--variant=minbase",
		"--include="+strings.Join(r.Packages, ","), r.Suite, root, mirror)
	if err != nil {
		return err
	}
	// In a foreign root proc is a link to the build machine's.
	if err := os.Remove(filepath.Join(root, "proc")); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o555); err != nil {
		return err
	}
	for path, text := range r.Files {
		if err := writeIn(root, path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := emulate(ctx, p); err != nil {
		return err
	}
	if err := secondStage(ctx, root); err != nil {
		return err
	}
	return r.units(ctx, root)
}

// units enables and masks the recipe's units.
func (r recipe) units(ctx context.Context, root string) error {
	for verb, units := range map[string][]string{"enable": r.Enable, "mask": r.Mask} {
		if len(units) == 0 {
			continue
		}
		if _, err := run(ctx, "systemctl", append([]string{"--root=" + root, "-q", verb}, units...)...); err != nil {
			return err
		}
	}
	return nil
}

// secondStage configures the packages in the root, in a mount namespace of its own, so that no mount is left whatever happens.
func secondStage(ctx context.Context, root string) error {
	const script = `mount -t proc proc "$0/proc" && exec chroot "$0" /debootstrap/debootstrap --second-stage`
	_, err := run(ctx, "nice", "-n", "5", "unshare", "--mount", "--fork", "--kill-child", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script, root)
	if err != nil {
		if log, rerr := os.ReadFile(filepath.Join(root, "debootstrap/debootstrap.log")); rerr == nil {
			err = fmt.Errorf("%w\n%s", err, tail(string(log), 2000))
		}
	}
	return err
}

// emulate makes the kernel run the architecture's programs, if it does not yet.
func emulate(ctx context.Context, p platform) error {
	const folder = "/proc/sys/fs/binfmt_misc"
	if p.Arch == runtime.GOARCH || exists(filepath.Join(folder, p.Emulate)) {
		return nil
	}
	if !exists(filepath.Join(folder, "register")) {
		if _, err := run(ctx, "mount", "-t", "binfmt_misc", "binfmt_misc", folder); err != nil {
			return err
		}
		if exists(filepath.Join(folder, p.Emulate)) {
			return nil
		}
	}
	line, err := os.ReadFile(filepath.Join("/usr/lib/binfmt.d", p.Emulate+".conf"))
	if err != nil {
		return fmt.Errorf("no user emulation for %s: %w", p.Arch, err)
	}
	return os.WriteFile(filepath.Join(folder, "register"), line, 0o200)
}

// makeKey writes a private key and returns the line for authorized_keys.
func makeKey(path string) (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "testhost")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return string(ssh.MarshalAuthorizedKey(line)), nil
}
