// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
	_ "time/tzdata" // the image is empty, and times are shown in the co-op's zone

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/text"
)

var errUsage = errors.New("coop: a setting can't be used")

// settings is the environment, checked.
type settings struct {
	listen       string
	database     string
	passwordFile string
	baseURL      string
	name         string
	currency     string
	lang         string
	zone         *time.Location
	proxies      []netip.Prefix
}

func readSettings(getenv func(string) string) (settings, error) {
	or := func(key, other string) string {
		if v := strings.TrimSpace(getenv(key)); v != "" {
			return v
		}
		return other
	}
	s := settings{
		listen:       or("COOP_LISTEN", ":8080"),
		database:     or("COOP_DATABASE", "sqlite:/data/coop.db"),
		passwordFile: or("COOP_DATABASE_PASSWORD_FILE", ""),
		baseURL:      or("COOP_BASE_URL", ""),
		name:         or("COOP_NAME", "Delivery co-op"),
		currency:     or("COOP_CURRENCY", "EUR"),
		lang:         or("COOP_LANG", "en"),
	}
	if _, _, err := net.SplitHostPort(s.listen); err != nil {
		return s, bad("COOP_LISTEN", s.listen, "write :8080 or ADDRESS:PORT")
	}
	if u, err := url.Parse(s.baseURL); s.baseURL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		return s, bad("COOP_BASE_URL", s.baseURL, "write it like https://rides.example")
	}
	if !coop.ValidUnit(s.currency) {
		return s, bad("COOP_CURRENCY", s.currency, "write a three-letter code like EUR")
	}
	words, err := text.Load()
	if err != nil {
		return s, err
	}
	if !words.Has(s.lang) {
		return s, bad("COOP_LANG", s.lang, "write one of "+strings.Join(text.Langs(), ", "))
	}
	if s.zone, err = time.LoadLocation(or("COOP_TIMEZONE", "UTC")); err != nil {
		return s, bad("COOP_TIMEZONE", getenv("COOP_TIMEZONE"), "write it like Europe/Madrid")
	}
	s.proxies, err = prefixes(or("COOP_TRUSTED_PROXY", ""))
	return s, err
}

func prefixes(list string) (out []netip.Prefix, err error) {
	for _, one := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(one)
		if err != nil {
			a, e := netip.ParseAddr(one)
			if e != nil {
				return nil, bad("COOP_TRUSTED_PROXY", one, "write networks like 172.30.0.0/16, with commas between")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out, nil
}

func bad(key, value, fix string) error {
	return fmt.Errorf("%w: %s is %q; %s", errUsage, key, value, fix)
}
