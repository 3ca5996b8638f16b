// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"strings"
	"testing"

	"rochdale/appliance"
)

// TestKitOption: an option that a recovery kit brings runs nothing but ssh.
func TestKitOption(t *testing.T) {
	for _, o := range []string{
		"sftp.connections=5", "s3.region=eu", "sftp.args=-i /etc/rochdale/key -o BatchMode=yes", `sftp.args=-i "/etc/rochdale/my key"`,
		"sftp.args=-J me@jump.example:22 -p 2222", "sftp.args=-oProxyJump=jump.example", "sftp.args=-4Ci/key", "sftp.args=-o 'StrictHostKeyChecking accept-new'",
		"sftp.args=-F /root/.ssh/config", "sftp.args=-F none", "sftp.args=-o UserKnownHostsFile=/etc/rochdale/known_hosts", "sftp.args=-o UserKnownHostsFile=~/.ssh/known_hosts",
		"sftp.args=-oProxyCommand=none", "sftp.args=-o ForwardAgent=no",
	} {
		if !appliance.KitOption(o) {
			t.Errorf("%s is refused", o)
		}
	}
	for _, o := range []string{
		"sftp.command=ssh backup.example -s sftp", "sftp.args=-o ProxyCommand=/bin/x", "sftp.args=-oProxyCommand=/bin/x", "sftp.args=-o proxycommand=/bin/x",
		"sftp.args=-o 'ProxyCommand /bin/x'", `sftp.args=-o "ProxyCommand = /bin/x"`, `sftp.args=-o '"ProxyCommand" /bin/x'`, "sftp.args=-CoProxyCommand=/bin/x", "sftp.args=-o LocalCommand=x",
		"sftp.args=-o PermitLocalCommand=yes", "sftp.args=-o KnownHostsCommand=/bin/x", "sftp.args=-o 'Match exec x'", "sftp.args=-o Include=/tmp/x",
		"sftp.args=-o PKCS11Provider=/tmp/x.so", "sftp.args=-I /tmp/x.so", "sftp.args=-o SecurityKeyProvider=/tmp/x.so", "sftp.args=-o XAuthLocation=/tmp/x",
		"sftp.args=-o ProxyUseFdpass=yes", "sftp.args=-F /etc/rochdale/ssh", "sftp.args=-F/tmp/x", "sftp.args=-S /tmp/x", "sftp.args=-S/tmp/x", "sftp.args=-E /etc/cron.d/x",
		"sftp.args=-o ControlPath=/tmp/x", "sftp.args=-R /tmp/x:/run/docker.sock", "sftp.args=-o RemoteForward=x", "sftp.args=-A", "sftp.args=-X",
		"sftp.args=-o UserKnownHostsFile=/etc/cron.d/x", "sftp.args=-o UserKnownHostsFile=/root/.ssh/authorized_keys", `sftp.args=-o "UserKnownHostsFile=/root/.ssh/a /etc/cron.d/x"`,
		"sftp.args=-J a,-oProxyCommand=x", "sftp.args=-J a,-F/etc/rochdale/x", "sftp.args=-l `x`", "sftp.args=-o HostName=$(x)", `sftp.args=-oProxy\Command=x`, `sftp.args=-o"ProxyCommand=x"`,
		"sftp.args=-o UserKnownHostsFile=/root/.ssh/config", "sftp.args=-o UserKnownHostsFile=~/.ssh/config -o HostKeyAlias=include", "sftp.args=-o UserKnownHostsFile=/etc/rochdale/key",
		`sftp.args=-oPort=1" -oProxyCommand=x"`, "sftp.args=other.example", "sftp.args=-o", "sftp.args=--", "sftp.args=-o NotKnownYet=1", `sftp.args="-o`,
	} {
		if appliance.KitOption(o) {
			t.Errorf("%s is taken", o)
		}
	}
}

// TestKitSSHConfig: an ssh configuration that a recovery kit brings is plain settings.
func TestKitSSHConfig(t *testing.T) {
	const plain = "# ours\n\nHost backup.example\r\n\tHostName 192.0.2.1 # main\n  User=rides\t# who\n\tPort 23\n\tIdentityFile ~/.ssh/id_rides\n\tProxyJump jump.example\n\nMatch host a,b user c\n  IdentitiesOnly yes\n"
	if line := appliance.KitSSHConfig([]byte(plain)); line != "" {
		t.Errorf("refused for %q", line)
	}
	for _, line := range []string{
		"ProxyCommand /bin/x", "  proxycommand=/bin/x", "\fProxyCommand x", "Include /tmp/x", "Match exec \"x\"", "Match host a exec x", "Match !EXEC=x", "Match \"ex\"\"ec\" x", "ProxyCommand \" none\"", "LocalCommand x",
		"PKCS11Provider /x.so", "\"ProxyCommand\" x", "HostName $(x)", "User `x`", "ProxyJump a;b", "UserKnownHostsFile /etc/cron.d/x", "UserKnownHostsFile /root/.ssh/config", "HostName $(x) # main", "XAuthLocation /x", "IdentityAgent /x", "Host a\rProxyCommand x", "a\x00b",
	} {
		if got := appliance.KitSSHConfig([]byte(plain + line + "\n")); got == "" {
			t.Errorf("%q is taken", line)
		}
	}
}

// TestKitCredentials: a file of credentials names no program.
func TestKitCredentials(t *testing.T) {
	for text, want := range map[string]string{
		"# a comment\n\nAWS_ACCESS_KEY_ID=1\nAWS_REGION=\"eu west\"\nhttps_proxy=http://192.0.2.1:3128\n": "",
		"AWS_REGION=1\nLD_PRELOAD=/x":      "LD_PRELOAD",
		"RESTIC_PASSWORD_COMMAND=x":        "RESTIC_PASSWORD_COMMAND",
		"AWS_REGION=\"\nLD_PRELOAD=/x\n":   "LD_PRELOAD",
		"# a comment that goes on \\\nx=1": "?",
		"AWS_SHARED_CREDENTIALS_FILE=/x":   "AWS_SHARED_CREDENTIALS_FILE",
		"PATH":                             "?",
		// What systemd takes for the end of a line, or of the file, is one of ours.
		"# noted\r\n\r\nAWS_REGION=x\r\n":   "",
		"AWS_REGION=x\r\nLD_PRELOAD=/x\r\n": "LD_PRELOAD",
		"AWS_REGION=x\rLD_PRELOAD=/x":       "?",
		"# a comment\rLD_PRELOAD=/x":        "?",
		"; a comment\rLD_PRELOAD=/x":        "?",
		"# a comment\r\rLD_PRELOAD=/x\r\n":  "?",
		"AWS_REGION=x\r":                    "?",
		"AWS_REGION=x\x00":                  "?",
		"AWS_REGION=x\vy":                   "?",
		"AWS_REGION=x\u0085LD_PRELOAD=/x":   "?",
		"\fLD_PRELOAD=/x":                   "?",
		"AWS_REGION=\xff":                   "?",
		"\u00a0# a=\"\nAWS_REGION=\"":       "?",
		"\u00a0AWS_REGION=x":                "?",
		"# goes on \\\r\nLD_PRELOAD=/x":     "?",
		" ; goes on \\\nLD_PRELOAD=/x":      "?",
		"AWS_REGION=x\\\nLD_PRELOAD=/x":     "LD_PRELOAD",
		"AWS_REGION='\n#'\nLD_PRELOAD=/x":   "LD_PRELOAD",
		"AWS_REGION=\"\n; \"\n\tLD_AUDIT=x": "LD_AUDIT",
	} {
		if got := appliance.KitCredentials([]byte(text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestNamesOfWhatIsLeftOut: passwords stand in what options and settings are set to.
func TestNamesOfWhatIsLeftOut(t *testing.T) {
	long := strings.Repeat("é", 200)
	for option, want := range map[string]string{
		"sftp.command=sshpass -p hunter2 ssh": "sftp.command", " sftp.args = -o x": "sftp.args", "sftp.command": "sftp.command", long + "=x": long[:200] + "…",
	} {
		if got := appliance.OptionName(option); got != want {
			t.Errorf("%q: %q", option, got)
		}
	}
	for line, want := range map[string]string{"ProxyCommand sshpass -p hunter2 ssh": "ProxyCommand", "proxycommand=x": "proxycommand", `"ProxyCommand" x`: "?", "hunter2": "?"} {
		if got := appliance.SSHKeyword(line); got != want {
			t.Errorf("%q: %q", line, got)
		}
	}
}

// TestKitByHandIsTold: what no kit may bring is told while the machine is well.
func TestKitByHandIsTold(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.kits.byHand = []string{"offsite: sftp.command=x"}
		saveNow(t, d)
		told := false
		for _, f := range d.Findings(t.Context()) {
			told = told || f.ID == "recovery.kit-by-hand" && f.Severity == appliance.Warning && strings.Contains(f.Args["what"], "sftp.command")
		}
		if !told {
			t.Errorf("findings %v", b.findings())
		}
		b.kits.byHand = nil
		saveNow(t, d)
		if f := strings.Join(b.findings(), " "); strings.Contains(f, "kit-by-hand") {
			t.Errorf("findings %v", f)
		}
	})
}
