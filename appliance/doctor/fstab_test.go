// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"strings"
	"testing"

	"rochdale/appliance"
)

func TestBootCheck(t *testing.T) {
	const off = "warning doctor.boot-check"
	cases := []struct {
		name, fstab string
		want        string
		lines       []string
	}{
		{"a cloud image", "PARTUUID=b6 / ext4 rw,discard,errors=remount-ro 0 1\nPARTUUID=b7 /boot/efi vfat defaults 0 0\n", "", nil},
		{"never", "UUID=1 / ext4 defaults 0 0\n", off, []string{"UUID=1 / ext4 defaults 0 1"}},
		{"the numbers are left out", "/dev/vda1\t/\text4\tdefaults,noatime\n", off, []string{"/dev/vda1 / ext4 defaults,noatime 0 1"}},
		{"the last number is left out", "/dev/vda1 / ext4 defaults 1", off, []string{"/dev/vda1 / ext4 defaults 1 1"}},
		{"a comment after it", "/dev/vda1 / ext4 defaults 0 0 # why not", off, []string{"/dev/vda1 / ext4 defaults 0 1"}},
		{"others need no check", "UUID=1 / btrfs defaults 0 0\nUUID=2 /var xfs defaults 0 0\n", "", nil},
		{"our data on a disk of their own", "UUID=1 / ext4 defaults 0 1\nUUID=2 /var/lib/rochdale/ ext4 nofail 0 0\n", off, []string{"UUID=2 /var/lib/rochdale/ ext4 nofail 0 2"}},
		{"both", "UUID=1 / ext4 defaults 0 0\nUUID=2 /var ext4 defaults 0 0\n", off + ", " + off,
			[]string{"UUID=1 / ext4 defaults 0 1", "UUID=2 /var ext4 defaults 0 2"}},
		{"our data lie deeper than that", "UUID=1 / ext4 defaults 0 1\nUUID=2 /var ext4 defaults 0 0\nUUID=3 /var/lib ext4 defaults 0 2\n", "", nil},
		{"what holds none of ours", "UUID=1 / ext4 defaults 0 1\nUUID=2 /var/lib/rochdale-old ext4 defaults 0 0\nUUID=3 /home ext4 defaults 0 0\n", "", nil},
		{"the later line holds", "UUID=1 / ext4 defaults 0 0\nUUID=1 / ext4 defaults 0 1\n", "", nil},
		{"nothing of ours is in it", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\nproc /proc proc defaults 0 0\n", "", nil},
		{"empty", "", "", nil},
		{"garbage", "/ ext4\n\x00\xff / \n#/dev/vda1 / ext4 defaults 0 0\nUUID=1 none swap sw 0 0\next4 / / /\n" + strings.Repeat("x", 1000) + "\n", "", nil},
		{"garbage before it", "0 0 0\n!!\n/dev/vda1 / ext4 defaults 0 0\n", off, []string{"/dev/vda1 / ext4 defaults 0 1"}},
		{"more than anybody reads", strings.Repeat("x", fstabBound) + "\n/dev/vda1 / ext4 defaults 0 0\n", "", nil},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			d := Doctor{Paths: appliance.Paths{Root: t.TempDir()}}
			write(t, d.Paths.Root, "etc/fstab", test.fstab)
			found, err := bootCheck(t.Context(), d)
			if err != nil || ids(found) != test.want {
				t.Fatalf("got %q, %v; want %q", ids(found), err, test.want)
			}
			for i, line := range test.lines {
				if found[i].Args["line"] != line {
					t.Errorf("the line should be %q and not %q", line, found[i].Args["line"])
				}
			}
		})
	}
}

func TestBootCheckWithoutFstab(t *testing.T) {
	found, err := bootCheck(t.Context(), Doctor{Paths: appliance.Paths{Root: t.TempDir()}})
	if err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// TestCheckedEarly: Debian checks the root before the system starts, whatever stands
// in the file; all else only when the file says so.
func TestCheckedEarly(t *testing.T) {
	d := Doctor{Paths: appliance.Paths{Root: t.TempDir()}}
	write(t, d.Paths.Root, "etc/fstab", "UUID=1 / ext4 defaults 0 0\nUUID=2 /var ext4 defaults 0 0\n")
	write(t, d.Paths.Root, "run/initramfs/fsck-root", "")
	found, err := bootCheck(t.Context(), d)
	if err != nil || len(found) != 1 || found[0].Args["mount"] != "/var" {
		t.Errorf("%v, %v", found, err)
	}
}
