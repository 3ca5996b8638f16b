// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"rochdale/stacks/coop"
)

// openShop is a site with a shop that's open, and the address of its menu.
func openShop(t *testing.T) (site, string) {
	t.Helper()
	s, ctx := newSite(t), t.Context()
	link, err := s.app.NewAdminLink(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.app.Join(ctx, link, coop.SignUp{Name: "Ada", Email: "ada@example.org", Password: "a long password"})
	if err != nil {
		t.Fatal(err)
	}
	me := func() coop.Member {
		m, err := s.app.Who(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := s.app.Grant(ctx, me(), me().ID, coop.RoleMerchant); err != nil {
		t.Fatal(err)
	}
	shop, err := s.app.AddShop(ctx, me(), "Soups", "1 Market Square")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.app.AddItem(ctx, me(), shop, coop.Item{Name: "Soup", Price: "15", Available: true}), s.app.SetOpening(ctx, me(), shop, coop.Open)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, s.srv.URL + "/shops/" + shop
}

// keys presses keys, or types a text.
func (b tab) keys(text string) {
	b.Helper()
	b.do(text, chromedp.KeyEvent(text))
}

// focused describes what has the focus, and whether it can be seen that it has.
const focused = `(() => {
	const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
	const seen = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 && r.width > 0 && r.top >= 0 && r.bottom <= innerHeight && r.left >= 0;
	return [e.name || e.textContent.trim(), seen ? 'seen' : 'unseen', e.tagName];
})()`

// to presses Tab until the field or button of that name has the focus, checks that
// every stop on the way can be seen, and returns how many there were.
func (b tab) to(name string) (stops int) {
	b.Helper()
	for range 40 {
		b.keys(kb.Tab)
		stops++
		at := eval[[]string](b, focused)
		if at[1] != "seen" && at[2] != "BODY" {
			b.Errorf("it can't be seen that %q has the focus", at[0])
		}
		if strings.HasPrefix(at[0], name) {
			return stops
		}
	}
	b.Fatalf("%q can't be reached with the Tab key", name)
	return stops
}

// leads presses Enter and waits for an address that begins so.
func (b tab) leads(prefix string) string {
	b.Helper()
	b.keys(kb.Enter)
	var at string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		if at, err = chromedp.Run(b.ctx, chromedp.Location()); err != nil {
			b.Fatal(err)
		}
		u, err := url.Parse(at)
		if err == nil && strings.HasPrefix(u.Path, prefix) && eval[string](b, "document.readyState") == "complete" {
			return u.Path
		}
	}
	b.Fatalf("it leads to %s and not to %s", at, prefix)
	return ""
}

// TestKeyboardOnly walks from a menu to an order without a mouse and without any
// script, on a phone's width: sign up, choose, see the price, order, renew the PIN.
func TestKeyboardOnly(t *testing.T) {
	s, menu := openShop(t)
	b := browser(t)
	b.as(looks()[0])
	b.do("no scripts", call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.do(menu, chromedp.Navigate(menu))
	path := strings.TrimPrefix(menu, s.srv.URL)

	b.keys(kb.Tab)
	if at := eval[[]string](b, focused); at[0] != "Skip to content" || at[1] != "seen" {
		t.Errorf("the first stop is %v and not the way past the navigation", at)
	}
	b.keys(kb.Enter)
	if n := b.to("qty-"); n != 1 {
		t.Errorf("the first field comes %d stops after the way past the navigation", n)
	}
	b.to("Create an account")
	b.leads("/sign-up")
	for _, field := range [][2]string{{"name", "Cas Customer"}, {"email", "cas@example.org"}, {"password", "a long password"}} {
		b.to(field[0])
		b.keys(field[1])
	}
	b.to("Create the account")
	if at := b.leads("/shops"); at != path {
		t.Errorf("after signing up one is at %s and not back at the menu", at)
	}
	b.to("qty-")
	b.keys(kb.Delete + "2")
	b.to("address")
	b.keys("7 Long Lane")
	b.to("note")
	b.keys("Please ring")
	b.to("tip")
	b.keys("2")
	b.to("See the price")
	b.leads("/quotes/")
	b.to("Order for")
	b.leads("/orders/")

	total := eval[string](b, `document.querySelector('[data-line=total]').dataset.amount + ' ' + document.querySelector('main').dataset.state`)
	if total != "3700 placed" {
		t.Errorf("the order says %q", total)
	}
	pin := eval[string](b, `document.querySelector('[data-pin]').dataset.pin`)
	b.to("Get a new PIN")
	b.keys(" ") // folds it out
	b.to("Get a new PIN")
	b.keys(kb.Enter)
	said := func() bool { // on the same address, so that only the page's words tell
		return strings.Contains(eval[string](b, "document.body ? document.body.innerText : ''"), "The customer got a new PIN")
	}
	for end := time.Now().Add(20 * time.Second); !said(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the page doesn't say that there is a new PIN")
		}
	}
	if now := eval[string](b, `document.querySelector('[data-pin]').dataset.pin`); len(now) != 4 {
		t.Errorf("the PIN %s became %q", pin, now)
	}
	if n := eval[int](b, "document.scripts.length"); n != 0 {
		t.Errorf("%d scripts", n)
	}
}
