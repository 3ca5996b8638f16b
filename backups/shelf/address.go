// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"

	"rochdale/backups"
)

// kindOf parts restic's address: "s3:https://host/bucket" is s3, the rest. An
// address without a kind is a local folder.
func kindOf(address string) (kind backups.Kind, rest string) {
	before, after, found := strings.Cut(address, ":")
	if !found || strings.HasPrefix(address, "/") {
		return backups.Local, address
	}
	return backups.Kind(before), after
}

// Plain gives the address without the password that it may hold, for people.
func Plain(address string) string {
	kind, rest := kindOf(address)
	if kind == backups.Local {
		return rest
	}
	i := strings.Index(rest, "//")
	if i < 0 {
		return address
	}
	start := i + 2
	end := len(rest)
	if n := strings.IndexByte(rest[start:], '/'); n >= 0 {
		end = start + n
	}
	host := rest[start:end]
	at := strings.LastIndexByte(host, '@')
	if at < 0 {
		return address
	}
	user, _, secret := strings.Cut(host[:at], ":")
	if secret {
		host = user + host[at:]
	}
	return string(kind) + ":" + rest[:start] + host + rest[end:]
}

// option gives the value of one of restic's extended options.
func (p Place) option(name string) string {
	for _, o := range p.Options {
		if k, v, _ := strings.Cut(o, "="); strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// webURL reads a http or https address; without a scheme it is https. The error
// does not repeat what may hold a password.
func webURL(s string) (*url.URL, error) {
	if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		s = "https://" + strings.TrimPrefix(s, "//")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("it can not be read")
	}
	if u.Host == "" {
		return nil, errors.New("it names no host")
	}
	return u, nil
}

// words parts a line as a shell would: at spaces that stand in no quotes.
// Nothing is expanded.
func words(line string) []string {
	var list []string
	var word strings.Builder
	quote, open := rune(0), false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '"' || c == '\'':
			quote, open = c, true
		case c == ' ' || c == '\t':
			if open || word.Len() > 0 {
				list = append(list, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
		}
	}
	if open || word.Len() > 0 {
		list = append(list, word.String())
	}
	return list
}

func sortedOnce(names []string) []string {
	slices.SortFunc(names, cmp.Compare[string])
	return slices.Compact(names)
}
