// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"
	"strings"

	"rochdale/stacks/coop"
)

type membersData struct {
	Query   string
	Members []coop.Member
}

func (s *Server) members(r *http.Request, who coop.Member) (view, error) {
	q := r.URL.Query().Get("q")
	if len(q) > 100 {
		q = q[:100]
	}
	list, err := s.app.Members(r.Context(), who, q)
	return view{page: "members", heading: s.say(r, who, "nav.members"), data: membersData{q, list}}, err
}

func (s *Server) roles(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	role, member := coop.Role(r.PostForm.Get("role")), r.PathValue("member")
	if r.PostForm.Get("change") == "revoke" {
		return "/members", s.app.Revoke(r.Context(), who, member, role)
	}
	return "/members", s.app.Grant(r.Context(), who, member, role)
}

type resetData struct{ Name, Link string }

// resetLink shows the link once: it's in no address, no log and no page after.
func (s *Server) resetLink(r *http.Request, who coop.Member) (view, error) {
	m, token, err := s.app.NewResetLink(r.Context(), who, r.PathValue("member"))
	base := s.cfg.BaseURL
	if base == "" {
		base = "https://" + r.Host
	}
	d := resetData{m.Name, strings.TrimSuffix(base, "/") + "/reset/" + token}
	return view{page: "reset_link", heading: s.say(r, who, "reset_link.title", "name", m.Name), data: d}, err
}

type settingField struct {
	Key, Value string
	Choices    []string
}

type settingsData struct {
	Fields  []settingField
	History []coop.SettingsVersion
}

func (s *Server) settings(r *http.Request, who coop.Member) (view, error) {
	values, history, err := s.app.Settings(r.Context(), who)
	d := settingsData{History: history}
	for _, f := range coop.Schema() {
		value := f.Show(values[f.Key], s.app.Currency())
		if r.PostForm.Has(f.Key) {
			value = r.PostForm.Get(f.Key)
		}
		d.Fields = append(d.Fields, settingField{f.Key, value, f.Choices})
	}
	return view{page: "settings", heading: s.say(r, who, "nav.settings"), data: d}, err
}

func (s *Server) changeSettings(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	written := map[string]string{}
	for _, f := range coop.Schema() {
		written[f.Key] = r.PostForm.Get(f.Key)
	}
	return "/settings", s.app.ChangeSettings(r.Context(), who, written, r.PostForm.Get("reason"))
}

type ledgerData struct {
	Ledger coop.Ledger
	Good   bool
	Key    string
}

func (s *Server) ledger(r *http.Request, who coop.Member) (view, error) {
	l, err := s.app.Ledger(r.Context(), who)
	good := l.Unbalanced == 0
	for _, sum := range l.Sums {
		good = good && sum == 0
	}
	return view{page: "ledger", heading: s.say(r, who, "nav.ledger"), data: ledgerData{l, good, coop.NewKey()}}, err
}

func (s *Server) reversePage(r *http.Request, who coop.Member) (view, error) {
	t, err := s.app.TransactionOf(r.Context(), who, r.PathValue("transaction"))
	return view{page: "reverse", heading: s.say(r, who, "reverse.title"), data: t}, err
}

func (s *Server) reverse(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/ledger", s.app.Reverse(r.Context(), who, r.PathValue("transaction"), r.PostForm.Get("reason"))
}

func (s *Server) handIn(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	f := r.PostForm
	return "/ledger", s.app.HandIn(r.Context(), who, f.Get("courier"), f.Get("amount"), f.Get("key"))
}

func (s *Server) audit(r *http.Request, who coop.Member) (view, error) {
	a, err := s.app.Audit(r.Context(), who)
	found := "bad"
	if a.Good() {
		found = "good"
	}
	return view{page: "audit", heading: s.say(r, who, "audit.title"), data: a, marks: map[string]string{"audit": found}}, err
}
