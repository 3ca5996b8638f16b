// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"rochdale/backups"
)

func TestAddresses(t *testing.T) {
	for url, kind := range map[string]backups.Kind{
		"/srv/backup":                                     backups.Local,
		"/var/lib/rochdale/a b":                           backups.Local,
		"sftp:backup@nas.example.org:/srv/box":            backups.SFTP,
		"sftp:u123@u123.example.org:box":                  backups.SFTP,
		"sftp:nas:./box":                                  backups.SFTP,
		"sftp://backup@nas:2222//srv/box":                 backups.SFTP,
		"sftp://[2001:db8::1]:22//srv/box":                backups.SFTP,
		"s3:https://s3.example.org/bucket":                backups.S3,
		"s3:https://s3.example.org:9000/bucket/some/path": backups.S3,
		"s3:s3.example.org/bucket/path":                   backups.S3,
		"s3:http://192.168.1.4:9000/bucket":               backups.S3,
		"rest:https://hub.example.org/box/":               backups.REST,
		"rest:http://localhost:8000/":                     backups.REST,
		"rest:http://[::1]:8000/box":                      backups.REST,
	} {
		r := good(url)
		if err := r.Validate(); err != nil || r.Kind() != kind {
			t.Errorf("%s: %v, kind %q", url, err, r.Kind())
		}
	}
}

func good(url string) backups.Repository {
	return backups.Repository{Name: "nas-2", URL: url, PasswordFile: "/etc/rochdale/password"}
}

func TestAddressesThatAreRefused(t *testing.T) {
	for url, id := range map[string]string{
		"":                                    "backups.address",
		"/":                                   "backups.address",
		"srv/backup":                          "backups.address",
		"/srv/../etc":                         "backups.address",
		"/srv/backup/":                        "backups.address",
		"/srv/back\nup":                       "backups.address",
		"b2:bucket":                           "backups.address",
		"rclone:remote:path":                  "backups.address",
		"local:/srv":                          "backups.address",
		"sftp:-oProxyCommand=reboot:/srv":     "backups.address",
		"sftp:-l@nas:/srv":                    "backups.address",
		"sftp:nas":                            "backups.address",
		"sftp:nas:":                           "backups.address",
		"sftp:na s:/srv":                      "backups.address",
		"sftp://-oProxyCommand=x/srv":         "backups.address",
		"sftp://-l@nas/srv":                   "backups.address",
		"sftp://nas":                          "backups.address",
		"sftp://user:secret@nas//srv":         "backups.address-secret",
		"s3:https://s3.example.org":           "backups.address",
		"s3:https://s3.example.org/ab":        "backups.address",
		"s3:ftp://s3.example.org/bucket":      "backups.address",
		"s3:https://key:secret@host/bucket":   "backups.address-secret",
		"s3:http://s3.example.org/bucket":     "backups.address-plain",
		"rest:http://hub.example.org/":        "backups.address-plain",
		"rest:http://203.0.113.7/":            "backups.address-plain",
		"rest:https://coop:secret@hub/":       "backups.address-secret",
		"rest:https://coop@hub/":              "backups.address-secret",
		"rest:https://hub/?a=b":               "backups.address",
		"rest:https://hub/#a":                 "backups.address",
		"rest:https:///box":                   "backups.address",
		"rest:hub/box":                        "backups.address",
		"rest:https://u:secret@hub/%zz":       "backups.address",
		"rest:https://hub/\x1b[2J":            "backups.address",
		"s3:https://s3.example.org/bucket\n":  "backups.address",
		"sftp:backup@nas:/srv\n-oProxy=x:/a":  "backups.address",
		"rest:https://hub.example.org:port/a": "backups.address",
	} {
		err := good(url).Validate()
		var p *backups.Problem
		if !errors.As(err, &p) || p.ID != id {
			t.Errorf("%q: %v, want %s", url, err, id)
		}
		if s := fmt.Sprint(err); strings.Contains(s, "secret") && !strings.Contains(s, "address-secret") {
			t.Errorf("%q: the error shows the secret: %s", url, s)
		}
	}
}

func TestWordsOfARepository(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*backups.Repository)
		id     string
	}{
		"no name":                {func(r *backups.Repository) { r.Name = "" }, "backups.name"},
		"a name with a slash":    {func(r *backups.Repository) { r.Name = "a/b" }, "backups.name"},
		"a long name":            {func(r *backups.Repository) { r.Name = strings.Repeat("a", 41) }, "backups.name"},
		"no password file":       {func(r *backups.Repository) { r.PasswordFile = "" }, "backups.file"},
		"a relative file":        {func(r *backups.Repository) { r.PasswordFile = "password" }, "backups.file"},
		"a relative env file":    {func(r *backups.Repository) { r.EnvFile = "env" }, "backups.file"},
		"a line in a file":       {func(r *backups.Repository) { r.EnvFile = "/etc/a\nb" }, "backups.file"},
		"an option of a tool":    {func(r *backups.Repository) { r.Options = []string{"rclone.program=/bin/sh"} }, "backups.option"},
		"an option without =":    {func(r *backups.Repository) { r.Options = []string{"sftp.args"} }, "backups.option"},
		"another flag":           {func(r *backups.Repository) { r.Options = []string{"--password-command=x"} }, "backups.option"},
		"two lines in an option": {func(r *backups.Repository) { r.Options = []string{"sftp.args=a\nb"} }, "backups.option"},
	} {
		r := good("/srv/backup")
		r.EnvFile, r.Options = "/etc/rochdale/env", []string{"sftp.args=-i /etc/rochdale/key -o BatchMode=yes", "s3.region=eu"}
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(&r)
		var p *backups.Problem
		if err := r.Validate(); !errors.As(err, &p) || p.ID != c.id {
			t.Errorf("%s: %v, want %s", name, err, c.id)
		}
	}
}
