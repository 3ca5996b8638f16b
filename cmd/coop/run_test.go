// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store/storetest"
)

// TestMain lets this test binary be the server in processes of its own.
func TestMain(m *testing.M) {
	if os.Getenv("COOP_TEST_AS_SERVER") != "" {
		os.Exit(run(context.Background(), os.Args[1:], streams{os.Stdout, os.Stderr}, os.Getenv))
	}
	os.Exit(m.Run())
}

func call(t *testing.T, env map[string]string, args ...string) (code int, out, said string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, streams{&o, &e}, func(k string) string { return env[k] })
	return code, o.String(), e.String()
}

func TestRun(t *testing.T) {
	db := "sqlite:" + storetest.SQLiteFile(t)
	none := "sqlite:" + filepath.Join(t.TempDir(), "none.db")
	for _, c := range []struct {
		name      string
		env       map[string]string
		args      []string
		code      int
		out, said string
	}{
		{"version", nil, []string{"version"}, 0, "dev", ""},
		{"help", nil, []string{"--help"}, 0, "admin-link", ""},
		{"no such command", nil, []string{"migrate"}, 2, "", `no command "migrate"`},
		{"too much", nil, []string{"version", "x"}, 2, "", `takes no "x"`},
		{"first admin", map[string]string{"COOP_DATABASE": db}, []string{"admin-link"}, 0, "/join/", ""},
		{"again", map[string]string{"COOP_DATABASE": db}, []string{"admin-link", "--again"}, 0, "/join/", ""},
		{"reset for whom", nil, []string{"reset-link"}, 2, "", "e-mail address"},
		{"reset for nobody", map[string]string{"COOP_DATABASE": db}, []string{"reset-link", "no@example.org"}, 1, "", "no such member"},
		{"no database", map[string]string{"COOP_DATABASE": none}, []string{"serve"}, 1, "", "Run the stack's migrations first"},
		{"odd database", map[string]string{"COOP_DATABASE": "x"}, nil, 1, "", "COOP_DATABASE"},
		{"odd address", map[string]string{"COOP_LISTEN": "8080"}, nil, 2, "", "COOP_LISTEN"},
		{"odd base", map[string]string{"COOP_BASE_URL": "rides.example"}, nil, 2, "", "https://rides.example"},
		{"odd currency", map[string]string{"COOP_CURRENCY": "Euro"}, nil, 2, "", "EUR"},
		{"odd language", map[string]string{"COOP_LANG": "de"}, nil, 2, "", "en, es, fr"},
		{"odd zone", map[string]string{"COOP_TIMEZONE": "Mars"}, nil, 2, "", "Europe/Madrid"},
		{"odd proxy", map[string]string{"COOP_TRUSTED_PROXY": "172.30.0.0/16,x"}, nil, 2, "", "172.30.0.0/16"},
		{"nobody beside", map[string]string{"COOP_LISTEN": "127.0.0.1:1"}, []string{"healthcheck"}, 12, "", "isn't healthy"},
	} {
		code, out, said := call(t, c.env, c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(said, c.said) {
			t.Errorf("%s: %d %q %q", c.name, code, out, said)
		}
	}
}

// TestResetLink: the only admin, locked out, comes back by a command.
func TestResetLink(t *testing.T) {
	db := "sqlite:" + storetest.SQLiteFile(t)
	app, data, err := open(t.Context(), settings{database: db, currency: "EUR"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = data.Close() }()
	if _, err := app.SignUp(t.Context(), coop.SignUp{Name: "Ada", Email: "ada@example.org", Password: "forgotten now"}); err != nil {
		t.Fatal(err)
	}
	code, out, said := call(t, map[string]string{"COOP_DATABASE": db}, "reset-link", "Ada@example.org")
	token, ok := strings.CutPrefix(strings.TrimSpace(out), "/reset/")
	if code != 0 || !ok {
		t.Fatal(code, out, said)
	}
	if _, err := app.Reset(t.Context(), token, "remembered now", "x"); err != nil {
		t.Error(err)
	}
	if _, err := app.SignIn(t.Context(), "ada@example.org", "remembered now", coop.Client{}); err != nil {
		t.Error(err)
	}
}

// TestNothingObeyed: what people write reaches no terminal as a control character,
// neither by the log nor by an error.
func TestNothingObeyed(t *testing.T) {
	evil := "Eve\x1b]0;owned\a\x1b[2J\r\u009b31m\u202egnp.exe\u2028x\x00"
	var out bytes.Buffer
	log := newLog(&out)
	log.Error(evil, "name", evil, "error", errors.New(evil), "panic", any(struct{ Name string }{evil}), slog.Group(evil, evil, evil))
	slog.NewLogLogger(log.Handler(), slog.LevelWarn).Print("http: " + evil)
	report(errors.New(evil), "serve", streams{&out, &out})
	for _, r := range out.String() {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%U is in the output %q", r, out.String())
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines and not 3: %q", n, out.String())
	}
}
