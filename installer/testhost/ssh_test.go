// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

func TestRemoteLineSurvivesTheShell(t *testing.T) {
	file := t.TempDir() + "/id"
	args := []string{"printf", "[%s]", "a b", "it's", `"$HOME"`, "", "*", "new\nline", "$(false)"}
	line := remoteLine(file, Command{Args: args, Env: []string{"A=1 2"}, Dir: "/"})
	text, err := exec.CommandContext(t.Context(), "bash", "-c", line).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "[" + strings.Join(args[2:], "][") + "]"; string(text) != want {
		t.Errorf("%q, not %q", text, want)
	}
	text, err = exec.CommandContext(t.Context(), "bash", "-c", remoteLine(file, Command{Args: []string{"sh", "-c", `echo "$A|$PWD|$$"; cat ` + file}, Env: []string{"A=1 2"}, Dir: "/"})).Output()
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err != nil || len(lines) != 2 || lines[0] != "1 2|/|"+lines[1] {
		t.Errorf("%q, %v: the recorded process is not the program", text, err)
	}
}

func TestSSHCodeOfABrokenConnectionIsAnError(t *testing.T) {
	if code, err := sshCode(nil); code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
	if _, err := sshCode(errors.New("connection lost")); err == nil {
		t.Error("a lost connection is no exit code")
	}
	if signalNumber("KILL") != 9 || signalNumber("TERM") != 15 {
		t.Error("signals are numbered wrongly")
	}
}

func TestCommandLineOfQEMU(t *testing.T) {
	o := QEMUOptions{Name: "pi"}
	p, err := o.defaults()
	if err != nil || p.Program != "qemu-system-aarch64" || o.Memory != 1<<30 || o.Suite != "bookworm" {
		t.Fatalf("%+v, %+v, %v", p, o, err)
	}
	for _, bad := range []QEMUOptions{{Arch: "mips"}, {Name: "A B"}} {
		if _, err := bad.defaults(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	o.Resolver = HostIP()
	v := &VM{Name: o.Name, IP: HostIP(), options: o, lease: lease{Name: "rt77", Dir: "/m/rt77"}, image: image{Kernel: "/k", Initrd: "/i"}}
	args, err := v.args()
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	for _, need := range []string{"tb-size=256", "-m 1024", "-kernel /k -initrd /i", "file=/m/rt77/disk.qcow2", "ifname=rt77",
		"mac=52:54:00:77:00:01", "testhost.name=pi testhost.address=10.77.0.1 testhost.gateway=10.77.0.1 testhost.resolver=10.77.0.1"} {
		if !strings.Contains(line, need) {
			t.Errorf("no %q in %s", need, line)
		}
	}
}
