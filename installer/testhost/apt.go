// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mirrors are the addresses of Debian's two archives; empty where the build
// machine's own apt configuration names none.
type mirrors struct{ Archive, Security string }

// hostMirrors reads which mirrors the build machine itself uses, so that a machine is fetched from where its host is.
func hostMirrors() mirrors {
	codename := ""
	if data, err := os.ReadFile("/etc/os-release"); err == nil {
		codename = debianCodename(string(data))
	}
	var entries []aptEntry
	paths, _ := filepath.Glob("/etc/apt/sources.list.d/*") // the pattern is valid
	for _, path := range append([]string{"/etc/apt/sources.list"}, paths...) {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if strings.HasSuffix(path, ".sources") {
			entries = append(entries, parseDeb822(string(data))...)
		} else if strings.HasSuffix(path, ".list") {
			entries = append(entries, parseOneLine(string(data))...)
		}
	}
	return chooseMirrors(entries, codename)
}

// debianCodename returns the code name in os-release, or nothing where the system is not Debian itself.
func debianCodename(osRelease string) string {
	values := map[string]string{}
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"`)
	}
	if values["ID"] != "debian" {
		return ""
	}
	return values["VERSION_CODENAME"]
}

// aptEntry is one source of packages.
type aptEntry struct{ URIs, Suites []string }

func parseOneLine(text string) []aptEntry {
	var entries []aptEntry
	for line := range strings.Lines(text) {
		if i := strings.IndexByte(line, '['); i >= 0 {
			if j := strings.IndexByte(line, ']'); j > i {
				line = line[:i] + line[j+1:]
			}
		}
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[0] == "deb" {
			entries = append(entries, aptEntry{URIs: fields[1:2], Suites: fields[2:3]})
		}
	}
	return entries
}

func parseDeb822(text string) []aptEntry {
	var entries []aptEntry
	current, field := map[string]string{}, ""
	flush := func() {
		if slices.Contains(strings.Fields(current["types"]), "deb") && !strings.EqualFold(current["enabled"], "no") {
			entries = append(entries, aptEntry{strings.Fields(current["uris"]), strings.Fields(current["suites"])})
		}
		current, field = map[string]string{}, ""
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			current[field] += " " + strings.TrimSpace(line)
		default:
			key, value, _ := strings.Cut(line, ":")
			field = strings.ToLower(strings.TrimSpace(key))
			current[field] = strings.TrimSpace(value)
		}
	}
	flush()
	return entries
}

func chooseMirrors(entries []aptEntry, codename string) mirrors {
	if codename == "" {
		return mirrors{}
	}
	return mirrors{Archive: mirrorOf(entries, codename), Security: mirrorOf(entries, codename+"-security")}
}

// mirrorOf returns the first web address that serves a suite.
func mirrorOf(entries []aptEntry, suite string) string {
	for _, entry := range entries {
		if !slices.Contains(entry.Suites, suite) {
			continue
		}
		for _, uri := range entry.URIs {
			if u, err := url.Parse(uri); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
				return strings.TrimSuffix(uri, "/")
			}
		}
	}
	return ""
}

// sourcesList is a server's sources.list: the suite, its updates and its security updates.
func (m mirrors) sourcesList(suite string) string {
	list := fmt.Sprintf("deb %[1]s %[2]s main\ndeb %[1]s %[2]s-updates main\n", m.Archive, suite)
	if m.Security != "" {
		list += fmt.Sprintf("deb %s %s-security main\n", m.Security, suite)
	}
	return list
}

// archive is the mirror that a root is made from.
func (m mirrors) archive() (string, error) {
	if m.Archive == "" {
		return "", errors.New("apt's sources on this machine name no Debian mirror that a test machine could be made from: the tests need a Debian with its usual sources")
	}
	return m.Archive, nil
}
