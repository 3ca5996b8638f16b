// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Whoever knows for whom a recovery kit is sealed can make one: the public half is no
// secret. What a kit brings is written, and used, as root. So it may bring keys,
// credentials and settings, and nothing that would run a program, load code or lead ssh
// to write into other files. What an operator has set up beyond that is in no kit; it is
// told when the kit is made, and written by hand on the machine that takes over. All
// lists here are of what is allowed: what ssh learns later is not.

// KitKeys is a folder for keys beside the configuration, for those who keep them apart.
const KitKeys = "/etc/rochdale/keys/"

// SSHHome is where root's ssh looks when nobody says otherwise.
const SSHHome = "/root/.ssh/"

// SSHConfig is what root's ssh goes by.
const SSHConfig = SSHHome + "config"

// plainFile is a file's name: nothing hidden, nothing that is read as two words.
var plainFile = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)

// KitPlace tells whether a recovery kit may bring a file of this path: a key or a list
// of hosts beside the configuration, or what ssh reads of root's own. Files that say what
// this machine does, or who may log in, are not among them.
func KitPlace(path string) bool {
	dir, name := filepath.Split(path)
	at := Paths{}
	if !plainFile.MatchString(name) {
		return false
	}
	switch dir {
	case KitKeys:
		return true
	case SSHHome:
		return !strings.HasPrefix(name, "authorized_keys") && name != "rc" && name != "environment"
	case at.ConfigDir() + "/":
		return !slices.Contains([]string{at.Config(), at.Recovery(), at.Firewall()}, path) && name != "acme-root.pem"
	case filepath.Dir(at.RepositoryPassword("any")) + "/":
		return filepath.Ext(name) != ".password" && filepath.Ext(name) != ".env" // they are made of what is judged by itself
	default:
		return false
	}
}

// KitVariable tells whether a recovery kit may bring a variable for the programs that
// reach a repository. Others could name a program or a library.
func KitVariable(name string) bool {
	switch strings.ToUpper(name) {
	case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY":
		return true
	}
	return slices.Contains([]string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION",
		"RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD", "RESTIC_CACERT", "RESTIC_TLS_CLIENT_CERT", "RESTIC_COMPRESSION", "RESTIC_PACK_SIZE",
	}, name)
}

// MaxCredentials bounds a file of credentials, in bytes.
const MaxCredentials = 64 << 10

// KitCredentials gives the name in the first line of a file of credentials that no
// [KitVariable] is set in; empty if there is none. Of a line that sets nothing it gives "?".
//
// systemd reads such a file in its own way: a lone "\r" ends a line, in a comment too, and
// NUL ends the file. What it would part otherwise than is done here gives "?". A value
// that goes on over lines does no harm: each of them is judged as if it set something.
func KitCredentials(text []byte) string {
	whole := strings.ReplaceAll(string(text), "\r\n", "\n")
	if !utf8.ValidString(whole) || strings.ContainsFunc(whole, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
		return "?"
	}
	for line := range strings.SplitSeq(whole, "\n") {
		line = strings.Trim(line, " \t") // no other space is one to systemd
		if line == "" || strings.ContainsRune("#;", rune(line[0])) && !strings.HasSuffix(line, `\`) {
			continue
		}
		name, _, found := strings.Cut(line, "=")
		if name = strings.TrimRight(name, " \t"); !found || !variableName.MatchString(name) {
			return "?"
		}
		if !KitVariable(name) {
			return name
		}
	}
	return ""
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// KitOption tells whether a recovery kit may bring an option of a repository: one that
// runs no program but ssh itself.
func KitOption(option string) bool {
	name, value, _ := strings.Cut(option, "=")
	switch strings.TrimSpace(name) {
	case "sftp.command":
		return false
	case "sftp.args":
		words, ok := sshWords(value)
		return ok && plainSSH(words)
	default:
		return true
	}
}

// OptionName is what an option of a repository is called: what it is set to may hold a
// password, and whoever reads findings is not to see it.
func OptionName(option string) string {
	name, _, _ := strings.Cut(option, "=")
	return ShortName(strings.TrimSpace(name))
}

// SSHKeyword is what a line of an ssh configuration sets, as [OptionName] is for options.
func SSHKeyword(line string) string {
	m := sshLine.FindStringSubmatch(line)
	if m == nil {
		return "?"
	}
	return ShortName(m[1])
}

const maxName = 100 // runes of a name that somebody else chose

// ShortName cuts a name that comes out of a kit or a snapshot.
func ShortName(name string) string {
	if runes := []rune(name); len(runes) > maxName {
		return string(runes[:maxName]) + "…"
	}
	return name
}

// sshWord is a word as restic and we part a line in the same way: quotes only around
// whole words, and no backslash.
var sshWord = regexp.MustCompile(`^(?:"([^"\\]+)"|'([^'\\]+)'|([^\s"'\\]+))(?:\s+|$)`)

func sshWords(line string) (words []string, ok bool) {
	for line = strings.TrimSpace(line); line != ""; {
		m := sshWord.FindStringSubmatch(line)
		if m == nil {
			return nil, false
		}
		words = append(words, m[1]+m[2]+m[3])
		line = line[len(m[0]):]
	}
	return words, true
}

// The flags of ssh that name no program and no file but keys.
const (
	sshFlags      = "246aCknqTvx"
	sshFlagsValue = "bBcFiJlmop"
)

// plainSSH judges the words that ssh gets before the host.
func plainSSH(words []string) bool {
	for len(words) > 0 {
		used, ok := plainSSHWord(words)
		if !ok {
			return false
		}
		words = words[used:]
	}
	return true
}

// plainSSHWord judges a word with the flags "-4Ci", and what the last of them takes: the
// rest of the word, or the next one.
func plainSSHWord(words []string) (used int, ok bool) {
	flags, isFlag := strings.CutPrefix(words[0], "-")
	if !isFlag || flags == "" {
		return 0, false // it would be the host
	}
	if flags = strings.TrimLeft(flags, sshFlags); flags == "" {
		return 1, true
	}
	flag, value, used := flags[:1], flags[1:], 1
	if value == "" && len(words) > 1 {
		value, used = words[1], 2
	}
	return used, value != "" && strings.Contains(sshFlagsValue, flag) && plainSSHFlag(flag, value)
}

func plainSSHFlag(flag, value string) bool {
	switch flag {
	case "o":
		return plainSSHLine(value)
	case "F":
		// No other file is judged as ssh's configuration: it could come from elsewhere.
		return value == SSHConfig || value == "none" || value == "/dev/null"
	case "J", "l":
		return plainSSHName(value)
	default:
		return true
	}
}

// KitSSHConfig gives the first line of an ssh configuration that a recovery kit may not
// bring; empty if it may bring it all.
func KitSSHConfig(text []byte) string {
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.Trim(line, " \t\r\f")
		if line != "" && line[0] != '#' && !plainSSHLine(line) {
			return line
		}
	}
	return ""
}

var (
	sshLine = regexp.MustCompile(`^([A-Za-z0-9]+)(?:[ \t]*=[ \t]*|[ \t]+)(.*)$`)
	sshName = regexp.MustCompile(`^[A-Za-z0-9_.:%,@\[\]/-]+$`)
	// sshComment is what somebody noted after a value.
	sshComment = regexp.MustCompile(`[ \t]+#.*$`)
	sshFlag    = regexp.MustCompile(`(^|[,@/])-`)
)

// plainSSHName tells whether a host, a user or a jump over hosts means nothing else to
// the shell with which ssh begins a jump, nor to the ssh that it runs.
func plainSSHName(name string) bool { return sshName.MatchString(name) && !sshFlag.MatchString(name) }

// plainSSHLine judges a setting of ssh, "Port 2222" or "Port=2222".
func plainSSHLine(line string) bool {
	m := sshLine.FindStringSubmatch(line)
	if m == nil || strings.ContainsFunc(line, func(c rune) bool { return unicode.IsControl(c) && c != '\t' }) {
		return false
	}
	value := strings.TrimSpace(m[2])
	if !strings.Contains(value, `"`) {
		value = sshComment.ReplaceAllString(value, "")
	}
	switch key := strings.ToLower(m[1]); {
	case slices.Contains([]string{"hostname", "user", "hostkeyalias", "proxyjump"}, key):
		return plainSSHName(strings.Trim(value, `"`))
	case key == "match":
		return !strings.Contains(strings.ToLower(value), "exec") && !strings.ContainsAny(value, `"'\`)
	case key == "userknownhostsfile":
		return !slices.ContainsFunc(strings.Fields(strings.ReplaceAll(value, `"`, " ")), func(path string) bool { return !sshWritable(path) })
	case slices.Contains([]string{"proxycommand", "knownhostscommand", "pkcs11provider", "controlpath", "identityagent"}, key):
		return value == "none"
	case slices.Contains([]string{"permitlocalcommand", "forwardagent", "forwardx11", "forwardx11trusted", "controlmaster", "controlpersist", "tunnel", "addkeystoagent"}, key):
		return value == "no"
	default:
		return slices.Contains(sshKeywords(), key)
	}
}

// sshWritable tells whether ssh may write the keys of hosts that it meets into a file:
// one that nothing else is read from. A line with a key in it would be one more setting
// in a file with settings.
func sshWritable(path string) bool {
	if rest, home := strings.CutPrefix(path, "~/.ssh/"); home {
		path = SSHHome + rest
	}
	return path == "none" || path == "/dev/null" || KitPlace(path) && strings.HasPrefix(filepath.Base(path), "known_hosts")
}

// sshKeywords are settings of ssh that run nothing, load nothing and write nowhere.
func sshKeywords() []string {
	return strings.Fields(`
		addressfamily batchmode bindaddress bindinterface casignaturealgorithms certificatefile channeltimeout checkhostip ciphers
		clearallforwardings compression connectionattempts connecttimeout exitonforwardfailure fingerprinthash globalknownhostsfile
		gssapiauthentication gssapidelegatecredentials hashknownhosts host hostbasedacceptedalgorithms hostbasedauthentication
		hostkeyalgorithms identitiesonly identityfile ignoreunknown ipqos kbdinteractiveauthentication kexalgorithms loglevel macs
		nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming passwordauthentication port
		preferredauthentications pubkeyacceptedalgorithms pubkeyacceptedkeytypes pubkeyauthentication rekeylimit requesttty
		requiredrsasize revokedhostkeys sendenv serveralivecountmax serveraliveinterval setenv stricthostkeychecking syslogfacility
		tag tcpkeepalive updatehostkeys verifyhostkeydns visualhostkey`)
}

// LeftOut is an option that a configuration does not bring to another machine.
type LeftOut struct{ Repository, Option string }

// WithoutPrograms gives the configuration as another machine may take it over, and what
// was left out of it: options of repositories that are not [KitOption]s.
func (c Config) WithoutPrograms() (Config, []LeftOut) {
	var all []LeftOut
	repositories := maps.Clone(c.Backups.Repositories)
	for _, name := range slices.Sorted(maps.Keys(repositories)) {
		one := repositories[name]
		var kept []string
		for _, o := range one.Options {
			if KitOption(o) {
				kept = append(kept, o)
			} else {
				all = append(all, LeftOut{name, o})
			}
		}
		one.Options = kept
		repositories[name] = one
	}
	if len(all) > 0 {
		c.Backups.Repositories = repositories
	}
	return c, all
}
