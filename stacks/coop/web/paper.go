// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/text"
)

// paper is what a template is given: the view, and the words to say it in.
type paper struct {
	Lang    string
	Coop    string
	Heading string
	Style   string
	Path    string
	Member  coop.Member
	Problem *coop.Problem
	Data    any
	Reload  int
	Live    bool
	Langs   []string
	Nav     []link

	server *Server
	form   url.Values
	marks  map[string]string
}

// link is a way to somewhere.
type link struct {
	Href, Text, About string
	Here              bool
}

func (s *Server) paper(r *http.Request, who coop.Member, v view, p *coop.Problem) paper {
	out := paper{
		Lang: s.lang(r, who), Coop: s.cfg.Name, Heading: v.heading, Style: "/style-" + s.tag + ".css", Path: r.URL.Path,
		Member: who, Problem: p, Data: v.data, Reload: v.reload, Live: v.live, Langs: text.Langs(),
		server: s, form: r.PostForm, marks: v.marks,
	}
	out.Nav = out.nav()
	return out
}

func (p paper) nav() []link {
	all := []struct {
		href, key string
		show      bool
	}{
		{"/shops", "nav.shops", true},
		{"/orders", "nav.orders", p.Member.ID != ""},
		{"/courier", "nav.courier", p.Member.Is(coop.RoleCourier)},
		{"/shop", "nav.my_shops", p.Member.Is(coop.RoleMerchant)},
		{"/members", "nav.members", p.Member.Is(coop.RoleAdmin)},
		{"/orders/all", "nav.all_orders", p.Member.Is(coop.RoleAdmin)},
		{"/ledger", "nav.ledger", p.Member.Is(coop.RoleTreasurer) || p.Member.Is(coop.RoleAdmin)},
		{"/settings", "nav.settings", p.Member.Is(coop.RoleAdmin)},
	}
	var out []link
	for _, l := range all {
		if l.show {
			out = append(out, link{Href: l.href, Text: p.T(l.key), About: p.T(l.key + ".about"), Here: l.href == p.Path})
		}
	}
	return out
}

// T is the text of a key in the page's language.
func (p paper) T(key string, pairs ...string) string { return p.server.words.T(p.Lang, key, pairs...) }

// Trouble and Fix say what is wrong and what to do.
func (p paper) Trouble(q *coop.Problem) string { return p.T("problem." + q.Key) }

// Fix says what to do about a problem.
func (p paper) Fix(q *coop.Problem) string { return p.T("problem." + q.Key + ".fix") }

// LangName is a language's name in itself.
func (p paper) LangName(lang string) string { return p.server.words.T(lang, "lang.name") }

// Money writes minor units.
func (p paper) Money(n int64, unit string) string {
	return text.Money(p.Lang, coop.Decimal(n, unit), unit)
}

// Debit and Credit write an amount in its column.
func (p paper) Debit(n int64, unit string) string {
	if n < 0 {
		return ""
	}
	return p.Money(n, unit)
}

// Credit writes a negative amount without its sign.
func (p paper) Credit(n int64, unit string) string {
	if n >= 0 {
		return ""
	}
	return p.Money(-n, unit)
}

// Own is an amount as its owner sees it: what the co-op owes them is positive.
func (p paper) Own(_ coop.AccountKind, n int64) int64 { return -n }

// Number writes a count.
func (p paper) Number(n int64) string { return strconv.FormatInt(n, 10) }

// Short is a job's number.
func (p paper) Short(jobID string) string { return coop.Job{ID: jobID}.Number() }

// Time writes a moment in the co-op's zone, with the exact one for machines. The
// date is left out today.
func (p paper) Time(t time.Time) template.HTML {
	at, layout := t.In(p.server.cfg.Zone), "2006-01-02 15:04 MST"
	if now := time.Now().In(p.server.cfg.Zone); now.Format(time.DateOnly) == at.Format(time.DateOnly) {
		layout = "15:04 MST"
	}
	exact := template.HTMLEscapeString(at.Format(time.RFC3339))
	return template.HTML(`<time datetime="` + exact + `">` + template.HTMLEscapeString(at.Format(layout)) + `</time>`) //nolint:gosec // both parts are escaped
}

// Marks writes main's data- attributes.
func (p paper) Marks() template.HTMLAttr {
	var b strings.Builder
	for name, value := range p.marks {
		fmt.Fprintf(&b, ` data-%s="%s"`, template.HTMLEscapeString(name), template.HTMLEscapeString(value))
	}
	return template.HTMLAttr(b.String()) //nolint:gosec // both parts are escaped
}

// field is one labelled input.
type field struct {
	ID, Name, Label, Hint, Type, Value, Auto, Mode string
	Required, Bad                                  bool
}

// Field describes an input; flags are "required" and "money". Passwords aren't
// written back.
func (p paper) Field(name, key, kind, auto, flags string) field {
	f := field{ID: name, Name: name, Label: p.T(key), Type: kind, Auto: auto, Value: p.form.Get(name),
		Required: strings.Contains(flags, "required"), Bad: p.Bad(name)}
	if hint := p.T(key + ".hint"); hint != key+".hint" {
		f.Hint = hint
	}
	if flags == "money" {
		f.Mode = "decimal"
	}
	if kind == "password" {
		f.Value = ""
	}
	return f
}

// Bad reports whether the problem is about the field.
func (p paper) Bad(name string) bool { return p.Problem != nil && p.Problem.Field == name }

// Old is what was written into a field before, or other.
func (p paper) Old(name, other string) string {
	if v := p.form.Get(name); v != "" {
		return v
	}
	return other
}

// tag is a status in words with a colour beside it.
type tag struct{ Class, Text string }

// State is a job's state as a tag.
func (p paper) State(st coop.State) tag {
	class := ""
	switch st {
	case coop.Delivered, coop.Closed:
		class = "good"
	case coop.Refused, coop.Cancelled, coop.Returned:
		class = "bad"
	case coop.Placed:
		class = "warn"
	}
	return tag{class, p.T("state." + string(st))}
}

// Opening is a shop's opening as a tag.
func (p paper) Opening(o coop.Opening) tag {
	if o == coop.Open {
		return tag{"good", p.T("opening.open")}
	}
	return tag{"warn", p.T("opening.paused")}
}

// Steps is a job's way, with where it stands; none when it was called off.
func (p paper) Steps(now coop.State) []tag {
	way := []coop.State{coop.Placed, coop.Accepted, coop.Assigned, coop.PickedUp, coop.Delivered}
	at := slices.Index(way, now)
	if now == coop.Closed {
		at = len(way)
	}
	if at < 0 {
		return nil
	}
	var out []tag
	for i, st := range way {
		class := "done"
		if i == at {
			class = "now"
		} else if i > at {
			class = "todo"
		}
		out = append(out, tag{class, p.T("state." + string(st))})
	}
	return out
}

// Over reports whether nothing more happens to a job.
func (p paper) Over(st coop.State) bool { return p.server.app.Flow().Over(st) }

// Can reports whether the reader may do verb to the order.
func (p paper) Can(o coop.OrderView, verb string) bool {
	return p.server.app.Flow().Allows(o.State, coop.Verb(verb), o.Parties)
}

// Sent reports whether the form of this address was just refused, so that the
// page shows it open.
func (p paper) Sent(path string) bool { return p.Problem != nil && p.Path == path }

// Why puts the reason of an offer into words.
func (p paper) Why(r coop.Reason) string {
	key := "why.first"
	switch {
	case r.AskedBefore > 0:
		key = "why.again"
	case r.Candidates == 1:
		key = "why.only"
	}
	return p.T(key, "minutes", p.Number(r.IdleSeconds/60), "count", p.Number(r.Candidates))
}

// AllRoles lists the roles that can be given.
func (p paper) AllRoles() []coop.Role { return coop.Roles() }

// priced is a quote with the words to show it.
type priced struct {
	paper
	Q coop.Quote
}

// Priced is what the breakdown shows.
func (p paper) Priced(q coop.Quote) priced { return priced{p, q} }

// item is what the item form shows.
type item struct {
	paper
	ID, Name, About, Price, Unit string
	Available                    bool
}

// Item is the form of a menu item, or (for nil) of a new one.
func (p paper) Item(o any) item {
	if old, ok := o.(coop.Offering); ok {
		return item{p, old.ID, old.Name, old.About, coop.Decimal(old.Price, old.Unit), old.Unit, old.Available}
	}
	return item{p, "", p.form.Get("name"), p.form.Get("about"), p.form.Get("price"), p.server.app.Currency(), true}
}
