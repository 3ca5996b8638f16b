// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
	"rochdale/stacks/coop/store/storetest"
)

func TestLinksAndSessionsEnd(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
		if _, err := c.app.NewAdminLink(ctx, false); key(err) != "has_admin" {
			t.Errorf("a second first admin: %v", err)
		}
		old, err := c.app.NewAdminLink(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		link, err := c.app.NewAdminLink(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := key(c.app.LinkWorks(ctx, old, "x")); got != "link" {
			t.Errorf("an older link still works: %s", got)
		}
		time.Sleep(coop.LinkFor - time.Second)
		if err := c.app.LinkWorks(ctx, link, "x"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := key(c.app.LinkWorks(ctx, link, "x")); got != "link" {
			t.Errorf("a link outlives its day: %s", got)
		}
		token, err := c.app.SignIn(ctx, "client@example.org", "ten letters", coop.Client{Place: "x"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(coop.SessionFor)
		if _, err := c.app.Who(ctx, token); key(err) != "sign_in" {
			t.Errorf("a session outlives its time: %v", err)
		}
		if err := c.app.Forget(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReset: a link sets a password once within a day, for its member only, and
// ends every session; role links and password links don't stand in for each other.
func TestReset(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
		old := session(t, c, "client@example.org")
		mark, err := c.app.Mark(ctx, old)
		if err != nil {
			t.Fatal(err)
		}
		courier := session(t, c, "courier@example.org")
		for _, who := range []coop.Member{c.client, c.courier, c.merchant, {}} {
			if _, _, err := c.app.NewResetLink(ctx, who, c.client.ID); key(err) != "role" && key(err) != "sign_in" {
				t.Errorf("somebody who is no admin makes a link: %v", err)
			}
		}
		link := func() string {
			m, token, err := c.app.NewResetLink(ctx, c.admin, c.client.ID)
			if err != nil || m.ID != c.client.ID {
				t.Fatal(m, err)
			}
			return token
		}
		first, second := link(), link()
		forAdmin, err := c.app.NewAdminLink(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		reset := func(token string) string {
			_, err := c.app.Reset(ctx, token, "a new password", "x")
			return key(err)
		}
		for _, wrong := range []string{first, forAdmin, ""} {
			if got := reset(wrong); got != "link" {
				t.Errorf("a link that isn't good: %s", got)
			}
		}
		if _, err := c.app.Join(ctx, second, coop.SignUp{Name: "x", Email: "x@example.org", Password: "ten letters"}); key(err) != "link" {
			t.Errorf("a password link makes an account: %v", err)
		}
		if _, err := c.app.Reset(ctx, second, "short", "x"); key(err) != "password_short" {
			t.Error(err)
		}
		fresh, err := c.app.Reset(ctx, second, "a new password", "x")
		if err != nil {
			t.Fatal(err)
		}
		for token, want := range map[string]string{old: "sign_in", fresh: "<nil>", courier: "<nil>"} {
			if _, err := c.app.Who(ctx, token); key(err) != want {
				t.Errorf("a session after the reset: %v and not %s", err, want)
			}
		}
		for password, want := range map[string]string{"ten letters": "sign_in_wrong", "a new password": "<nil>"} {
			if _, err := c.app.SignIn(ctx, "client@example.org", password, coop.Client{Place: "y", Device: mark}); key(err) != want {
				t.Errorf("%q: %v and not %s", password, err, want)
			}
		}
		if got := reset(second); got != "link" {
			t.Errorf("a second use: %s", got)
		}
		late := link()
		time.Sleep(coop.LinkFor)
		if got := reset(late); got != "link" {
			t.Errorf("a day later: %s", got)
		}
		if a, err := c.app.Audit(ctx, c.admin); err != nil || !a.Good() {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// TestStrangersWriteNothing: what somebody without an account tries leaves the
// database as it was.
func TestStrangersWriteNothing(t *testing.T) {
	s := &counting{Store: storetest.SQLite(t)}
	app, ctx := coop.New(s, plain{}, coop.Config{Currency: "EUR"}), t.Context()
	in := coop.SignUp{Name: "x", Email: "x", Password: "short", From: "192.0.2.1/32"}
	for range 100 {
		_, e1 := app.SignIn(ctx, "nobody@example.org", "wrong", coop.Client{Place: "192.0.2.1/32", Device: "a.b"})
		_, e2 := app.SignUp(ctx, in)
		_, e3 := app.Join(ctx, "x", in)
		e4 := app.LinkWorks(ctx, "x", "192.0.2.1/32")
		_, e5 := app.Reset(ctx, "x", "ten letters", "192.0.2.2/32")
		if e1 == nil || e2 == nil || e3 == nil || e4 == nil || e5 == nil {
			t.Fatal("a stranger came in")
		}
	}
	if s.writes != 0 {
		t.Errorf("a stranger's tries made %d transactions that write", s.writes)
	}
}

// counting counts the transactions that write.
type counting struct {
	coop.Store
	writes int
}

func (s *counting) Write(ctx context.Context, fn func(coop.Tx) error) error {
	s.writes++
	return s.Store.Write(ctx, fn)
}

// TestNobodyLocksAnAccount: strangers who know the address can't keep a member
// out, from wherever and however often they try.
func TestNobodyLocksAnAccount(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
		in := func(password, place, mark string) string {
			_, err := c.app.SignIn(ctx, "Client@Example.org ", password, coop.Client{Place: place, Device: mark})
			return key(err)
		}
		token, err := c.app.SignIn(ctx, "client@example.org", "ten letters", coop.Client{Place: "home"})
		if err != nil {
			t.Fatal(err)
		}
		mark, err := c.app.Mark(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if got := in("wrong", "attacker", ""); got != "sign_in_wrong" {
				t.Fatal(got)
			}
		}
		if got := in("ten letters", "attacker", ""); got != "too_many" {
			t.Errorf("an eleventh try: %s", got)
		}
		if got := in("ten letters", "home", ""); got != "<nil>" {
			t.Errorf("an attacker elsewhere locks the member out: %s", got)
		}
		if got := in("ten letters", "attacker", mark); got != "<nil>" {
			t.Errorf("an attacker at the same address locks the member's own browser out: %s", got)
		}
		before := time.Now()
		for i := range 300 {
			if got := in("wrong", fmt.Sprint("bot ", i), ""); got != "sign_in_wrong" {
				t.Fatal(got)
			}
		}
		if took := time.Since(before); took < 5*time.Minute {
			t.Errorf("300 tries from everywhere took only %s", took)
		}
		before = time.Now()
		if got := in("ten letters", "home", mark); got != "<nil>" || time.Since(before) > 0 {
			t.Errorf("many attackers hinder the member's own browser: %s after %s", got, time.Since(before))
		}
		if got := in("ten letters", "a new phone", ""); got != "<nil>" || time.Since(before) > 10*time.Second {
			t.Errorf("a new browser among many attackers: %s after %s", got, time.Since(before))
		}
		other, err := c.app.Mark(ctx, session(t, c, "courier@example.org"))
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range []string{other, "x" + mark, mark + "x", ".", "a.", mark[:5]} {
			if got := in("ten letters", "attacker", wrong); got != "<nil>" && got != "too_many" {
				t.Error(got)
			}
		}
		for range 10 {
			in("wrong", "attacker", other)
		}
		if got := in("ten letters", "attacker", other); got != "too_many" {
			t.Errorf("another account's mark counts as this one's: %s", got)
		}
		for range 11 {
			in("wrong", "anywhere", mark)
		}
		if got := in("ten letters", "anywhere", mark); got != "too_many" {
			t.Errorf("a stolen mark guesses without end: %s", got)
		}
	})
}

func session(t *testing.T, c crew, email string) string {
	t.Helper()
	token, err := c.app.SignIn(t.Context(), email, "ten letters", coop.Client{Place: "home of " + email})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestOldPasswordMeanwhile: somebody who knows the old password doesn't slip in
// while it's being replaced.
func TestOldPasswordMeanwhile(t *testing.T) {
	h := &meddler{}
	app, ctx := coop.New(storetest.SQLite(t), h, coop.Config{Currency: "EUR"}), t.Context()
	if _, err := app.SignUp(ctx, coop.SignUp{Name: "Ben", Email: "ben@example.org", Password: "the old one"}); err != nil {
		t.Fatal(err)
	}
	_, link, err := app.NewResetLinkFor(ctx, "ben@example.org")
	if err != nil {
		t.Fatal(err)
	}
	h.meanwhile = func() {
		if _, err := app.Reset(ctx, link, "the new one", "x"); err != nil {
			t.Error(err)
		}
	}
	if _, err := app.SignIn(ctx, "ben@example.org", "the old one", coop.Client{}); key(err) != "sign_in_wrong" {
		t.Errorf("the old password: %v", err)
	}
}

// meddler is a Hasher that lets something happen while it compares.
type meddler struct {
	plain
	meanwhile func()
}

func (m *meddler) Matches(ctx context.Context, p, encoded string) (bool, error) {
	m.meanwhile()
	return m.plain.Matches(ctx, p, encoded)
}
