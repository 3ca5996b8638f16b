// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/password"
	"rochdale/stacks/coop/store/storetest"
	"rochdale/stacks/coop/text"
	"rochdale/stacks/coop/walk"
	"rochdale/stacks/coop/web"
)

type site struct {
	app *coop.App
	srv *httptest.Server
}

func newSite(t *testing.T) site {
	t.Helper()
	app := coop.New(storetest.SQLite(t), password.New(), coop.Config{Currency: "EUR"})
	h, err := web.New(app, web.Config{Name: "Rides & Co", Lang: "en", Zone: time.UTC, BaseURL: "https://rides.example", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s := site{app, httptest.NewTLSServer(h)}
	t.Cleanup(s.srv.Close)
	return s
}

// ask sends one request and follows nothing.
func (s site) ask(t *testing.T, method, path string, form url.Values, header map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.srv.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := s.srv.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func newcomer(name string) url.Values {
	return url.Values{"name": {name}, "email": {name + "@example.org"}, "password": {"a long password"}}
}

func TestAnswers(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name, method, path string
		form               url.Values
		header             map[string]string
		status             int
		location, says     string
	}{
		{"health", "GET", "/healthz", nil, nil, 200, "", "ok"},
		{"start", "GET", "/", nil, nil, 200, "", "Welcome to Rides &amp; Co"},
		{"by browser", "GET", "/", nil, map[string]string{"Accept-Language": "fr-CA"}, 200, "", `<html lang="fr">`},
		{"by address", "GET", "/?lang=es", nil, map[string]string{"Accept-Language": "fr"}, 200, "", `<html lang="es">`},
		{"by cookie", "GET", "/", nil, map[string]string{"Cookie": "__Host-lang=fr"}, 200, "", `<html lang="fr">`},
		{"no page", "GET", "/nothing", nil, nil, 404, "", "no page at this address"},
		{"no shop", "GET", "/shops/x", nil, nil, 404, "", "no such shop"},
		{"no link", "GET", "/join/x", nil, nil, 404, "", "doesn’t work any more"},
		{"who?", "GET", "/courier", nil, nil, 303, "/sign-in?next=%2Fcourier", ""},
		{"who? post", "POST", "/shop", newcomer("x"), nil, 303, "/sign-in", ""},
		{"old session", "GET", "/orders", nil, map[string]string{"Cookie": "__Host-session=gone"}, 303, "/sign-in?next=%2Forders", ""},
		{"wrong method", "DELETE", "/sign-in", nil, nil, 405, "", ""},
		{"short password", "POST", "/sign-up", url.Values{"name": {"Ann"}, "email": {"ann@example.org"}, "password": {"short"}}, nil, 422, "", `value="ann@example.org"`},
		{"marked field", "POST", "/sign-up", url.Values{"name": {"Ann"}, "email": {"ann"}, "password": {"a long password"}}, nil, 422, "", `aria-invalid="true"`},
		{"markup is text", "POST", "/sign-up", url.Values{"name": {`"><script>x`}, "email": {"ann"}, "password": {"a long password"}}, nil, 422, "", `value="&#34;&gt;&lt;script&gt;x"`},
		{"not known", "POST", "/sign-in", newcomer("nobody"), nil, 422, "", "don’t go together"},
		{"too big", "POST", "/sign-up", url.Values{"name": {strings.Repeat("x", 70<<10)}}, nil, 422, "", "too long"},
		{"from elsewhere", "POST", "/sign-up", newcomer("eve"), map[string]string{"Origin": "https://evil.example"}, 403, "", "another website"},
		{"from a frame", "POST", "/sign-up", newcomer("eve"), map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "", "another website"},
		{"from the base address", "POST", "/language", url.Values{"lang": {"es"}, "back": {"/shops"}}, map[string]string{"Origin": "https://rides.example"}, 303, "/shops", ""},
		{"out of the site", "POST", "/language", url.Values{"lang": {"es"}, "back": {"//evil.example"}}, nil, 303, "/", ""},
		{"welcome", "POST", "/sign-up", newcomer("ann"), nil, 303, "/", ""},
		{"twice", "POST", "/sign-up", newcomer("ann"), nil, 409, "", "already"},
		{"back to where", "POST", "/sign-in", url.Values{"email": {"ann@example.org"}, "password": {"a long password"}, "next": {"/orders"}}, nil, 303, "/orders", ""},
	} {
		resp, body := s.ask(t, c.method, c.path, c.form, c.header)
		if resp.StatusCode != c.status || resp.Header.Get("Location") != c.location || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %q\n%s", c.name, resp.StatusCode, resp.Header.Get("Location"), body)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: the policy is %q", c.name, csp)
		}
	}
}

// TestEveryPage walks an order and then reads every page, as everybody who may,
// in every language, and checks what a page must be.
func TestEveryPage(t *testing.T) {
	s, ctx := newSite(t), t.Context()
	link, err := s.app.NewAdminLink(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := walk.Order(ctx, walk.Options{BaseURL: s.srv.URL, Transport: s.srv.Client().Transport.(*http.Transport), JoinPath: "/join/" + link, Unique: "p"})
	if err != nil {
		t.Fatal(err)
	}
	cookies := map[string]string{"": ""}
	who := map[string]coop.Member{}
	for _, role := range []string{"admin", "merchant", "courier", "customer"} {
		token, err := s.app.SignIn(ctx, role+"-p@walk.example", "walk along "+role+" p", coop.Client{Place: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if who[role], err = s.app.Who(ctx, token); err != nil {
			t.Fatal(err)
		}
		cookies[role] = "__Host-session=" + token
	}
	quote, job, refused, l := s.underWay(t, r.ShopID, cookies["customer"], who)
	for role, paths := range map[string][]string{
		"":         {"/", "/shops", "/shops/" + r.ShopID, "/sign-in", "/sign-up", "/nothing"},
		"customer": {"/", "/shops/" + r.ShopID, "/quotes/" + quote, "/orders", "/orders/" + job, "/orders/" + r.OrderID, "/orders/" + job + "?live=1"},
		"merchant": {"/", "/shop", "/shop/" + r.ShopID, "/shop/" + r.ShopID + "?live=1", "/shop/" + r.ShopID + "/statement", "/orders/" + job, "/orders/" + refused},
		"courier":  {"/", "/courier", "/courier/earnings", "/orders/" + r.OrderID, "/courier?live=1"},
		"admin":    {"/", "/members", "/members?q=cleo", "/orders/all", "/orders/" + job, "/settings", "/ledger", "/ledger/" + l + "/reverse", "/audit"},
	} {
		for _, path := range paths {
			for _, lang := range text.Langs() {
				resp, body := s.ask(t, "GET", path, nil, map[string]string{"Cookie": cookies[role] + "; __Host-lang=" + lang})
				if resp.StatusCode != 200 && path != "/nothing" {
					t.Errorf("%s as %q: %s", path, role, resp.Status)
				}
				for _, fault := range faults(body, lang) {
					t.Errorf("%s as %q in %s: %s", path, role, lang, fault)
				}
				if live := strings.Contains(body, `http-equiv="refresh"`); live != strings.Contains(path, "live=1") {
					t.Errorf("%s as %q: reloads by itself: %v", path, role, live)
				}
			}
		}
	}
}

// underWay leaves a quote, an order that's offered and one that's refused, and
// tells a transaction's id.
func (s site) underWay(t *testing.T, shop, cookie string, who map[string]coop.Member) (quote, job, refused, transaction string) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	menu, err := s.app.Shop(ctx, shop)
	check(err)
	basket := coop.Basket{ShopID: shop, Quantities: map[string]int64{menu.Menu[0].ID: 1}, Address: "7 Long Lane", Note: "ring"}
	quote, err = s.app.Quote(ctx, who["customer"], basket)
	check(err)
	other, err := s.app.Quote(ctx, who["customer"], basket)
	check(err)
	job, err = s.app.Place(ctx, who["customer"], other)
	check(err)
	third, err := s.app.Quote(ctx, who["customer"], basket)
	check(err)
	refused, err = s.app.Place(ctx, who["customer"], third)
	check(err)
	check(s.app.RefuseOrder(ctx, who["merchant"], refused, "no more soup"))
	if _, body := s.ask(t, "GET", "/orders/"+refused, nil, map[string]string{"Cookie": cookie}); !strings.Contains(body, "no more soup") {
		t.Error("the customer isn't told why the shop refused")
	}
	check(s.app.SetOnline(ctx, who["courier"], true))
	check(s.app.AcceptOrder(ctx, who["merchant"], job))
	l, err := s.app.Ledger(ctx, who["admin"])
	check(err)
	return quote, job, refused, l.Transactions[0].ID
}

// faults lists what a page gets wrong: in its markup, its words, its labels.
func faults(body, lang string) (list []string) {
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		return []string{err.Error()}
	}
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	ids, labels, level, tops := map[string]bool{}, map[string]bool{}, 0, 0
	for n := range doc.Descendants() {
		if n.Data == "label" {
			labels[attr(n, "for")] = true
		}
	}
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && regexp.MustCompile(`^\s*[a-z_]+(\.[a-z_]+)+\s*$`).MatchString(n.Data) && !strings.Contains(n.Data, "example") {
			say("a text is missing: %s", strings.TrimSpace(n.Data))
		}
		if n.Type != html.ElementNode {
			continue
		}
		if id := attr(n, "id"); id != "" && ids[id] {
			say("the id %q is there twice", id)
		} else {
			ids[id] = true
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				say("%s has %s", n.Data, a.Key)
			}
		}
		switch n.Data {
		case "html":
			if attr(n, "lang") != lang {
				say("its language is %q", attr(n, "lang"))
			}
		case "script":
			say("there's a script")
		case "h1", "h2", "h3", "h4":
			now := int(n.Data[1] - '0')
			if now > level+1 {
				say("a heading is skipped before %s", n.Data)
			}
			if level = now; now == 1 {
				tops++
			}
		case "input", "select", "textarea":
			inside := n.Parent != nil && n.Parent.Data == "label"
			if attr(n, "type") != "hidden" && !inside && !labels[attr(n, "id")] {
				say("the field %q has no label", attr(n, "name"))
			}
		case "a", "button":
			if words(n) == "" {
				say("a %s has no words", n.Data)
			}
		}
	}
	if tops != 1 {
		say("there are %d main headings", tops)
	}
	return list
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func words(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// TestFaults keeps the check above honest.
func TestFaults(t *testing.T) {
	good := `<html lang="en"><body><h1>A</h1><h2>B</h2><label for="a">x</label><input id="a" name="a"><label><input type="checkbox"> y</label><a href="/">z</a></body></html>`
	if list := faults(good, "en"); len(list) != 0 {
		t.Error(list)
	}
	for _, bad := range []string{
		strings.Replace(good, `for="a"`, `for="b"`, 1), strings.Replace(good, "<h2>", "<h3>", 1), strings.Replace(good, ">z<", "><", 1),
		strings.Replace(good, `lang="en"`, "", 1), strings.Replace(good, "B", "nav.shops", 1), strings.Replace(good, "<a ", `<a id="a" `, 1),
		strings.Replace(good, "<a ", `<a onclick="x" `, 1), strings.Replace(good, "<a ", "<script></script><a ", 1), strings.Replace(good, "<h1>A</h1>", "", 1),
	} {
		if len(faults(bad, "en")) == 0 {
			t.Errorf("no fault is found in %s", bad)
		}
	}
}
