// SPDX-License-Identifier: AGPL-3.0-or-later

package walk

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// pageLimit bounds what is read of one page.
const pageLimit = 4 << 20

// person is a browser with its own cookies, on the page that it saw last.
type person struct {
	name   string
	base   *url.URL
	client *http.Client
	at     *url.URL
	page   *html.Node
}

func newPerson(name string, o Options) (*person, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("walk: %q isn't an address", o.BaseURL)
	}
	if base.Scheme != "https" {
		return nil, fmt.Errorf("walk: %q isn't https; the platform's cookies travel over nothing else", o.BaseURL)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	if o.Transport != nil {
		c.Transport = o.Transport
	}
	return &person{name: name, base: base, client: c}, nil
}

// open reads a page.
func (p *person) open(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base.ResolveReference(&url.URL{Path: path}).String(), nil)
	if err != nil {
		return err
	}
	return p.do(req)
}

// submit fills in the form with the given action on the page that's open, and
// sends it. A form that isn't there, or has no field of such a name, is an error.
func (p *person) submit(ctx context.Context, action string, fill map[string]string) error {
	form := find(p.page, func(n *html.Node) bool {
		return n.Data == "form" && attr(n, "action") == action && attr(n, "method") == "post"
	})
	if form == nil {
		return fmt.Errorf("walk: %s sees no form for %s on %s", p.name, action, p.at.Path)
	}
	return p.send(ctx, form, fill)
}

// send fills in a form of the page that's open, and sends it.
func (p *person) send(ctx context.Context, form *html.Node, fill map[string]string) error {
	action := attr(form, "action")
	values := fields(form)
	for name, value := range fill {
		if !values.Has(name) {
			return fmt.Errorf("walk: the form for %s has no field %q", action, name)
		}
		values.Set(name, value)
	}
	target := p.at.ResolveReference(&url.URL{Path: action})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(values.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", target.Scheme+"://"+target.Host)
	if err := p.do(req); err != nil {
		return fmt.Errorf("%w (after sending the form for %s)", err, action)
	}
	return nil
}

func (p *person) do(req *http.Request) error {
	req.Header.Set("Accept-Language", "en")
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("walk: %s: %w", p.name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, pageLimit))
	if err != nil {
		return fmt.Errorf("walk: %s: %w", p.name, err)
	}
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		alert := find(doc, func(n *html.Node) bool { return attr(n, "role") == "alert" })
		return fmt.Errorf("walk: %s got %s for %s: %s", p.name, resp.Status, resp.Request.URL.Path, words(alert))
	}
	p.at, p.page = resp.Request.URL, doc
	return nil
}

// expect checks where the last answer led to.
func (p *person) expect(prefix string) error {
	if !strings.HasPrefix(p.at.Path, prefix) {
		return fmt.Errorf("walk: %s is on %s and not on %s…", p.name, p.at.Path, prefix)
	}
	return nil
}

// fields is what a browser would send for an untouched form.
func fields(form *html.Node) url.Values {
	v := url.Values{}
	for _, n := range all(form, func(n *html.Node) bool { return slices.Contains([]string{"input", "select", "textarea"}, n.Data) }) {
		name := attr(n, "name")
		switch {
		case name == "":
		case n.Data == "select":
			v.Set(name, chosen(n))
		case attr(n, "type") == "checkbox" && !has(n, "checked"):
		default:
			v.Set(name, attr(n, "value"))
		}
	}
	return v
}

func chosen(sel *html.Node) string {
	options := all(sel, func(n *html.Node) bool { return n.Data == "option" })
	for _, o := range options {
		if has(o, "selected") {
			return attr(o, "value")
		}
	}
	if len(options) > 0 {
		return attr(options[0], "value")
	}
	return ""
}

// all lists the elements under n that match, in the page's order.
func all(n *html.Node, match func(*html.Node) bool) (list []*html.Node) {
	if n == nil {
		return nil
	}
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && match(d) {
			list = append(list, d)
		}
	}
	return list
}

func find(n *html.Node, match func(*html.Node) bool) *html.Node {
	if list := all(n, match); len(list) > 0 {
		return list[0]
	}
	return nil
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

func attr(n *html.Node, key string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func words(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
