// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"
	"time"

	"rochdale/stacks/coop"
)

func (s *Server) courier(r *http.Request, who coop.Member) (view, error) {
	d, err := s.app.CourierDesk(r.Context(), who)
	v := view{page: "courier", heading: s.say(r, who, "nav.courier"), data: d}
	s.live(r, &v, d.Availability.Online)
	return v, err
}

func (s *Server) availability(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/courier", s.app.SetOnline(r.Context(), who, r.PostForm.Get("online") == "yes")
}

func (s *Server) acceptOffer(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/courier", s.app.AcceptOffer(r.Context(), who, r.PathValue("offer"))
}

func (s *Server) declineOffer(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/courier", s.app.DeclineOffer(r.Context(), who, r.PathValue("offer"))
}

func (s *Server) pickUp(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/courier", s.app.PickUp(r.Context(), who, r.PathValue("order"))
}

func (s *Server) deliver(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/courier", s.app.Deliver(r.Context(), who, r.PathValue("order"), r.PostForm.Get("pin"))
}

func (s *Server) collect(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/courier", s.app.Collect(r.Context(), who, r.PathValue("order"))
}

func (s *Server) bringBack(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/courier", s.app.Return(r.Context(), who, r.PathValue("order"), r.PostForm.Get("reason"))
}

func (s *Server) earnings(r *http.Request, who coop.Member) (view, error) {
	l, err := s.app.Earnings(r.Context(), who)
	return view{page: "account", heading: s.say(r, who, "nav.earnings"), data: account("earnings.about", who.ID, l)}, err
}

// accountData is one owner's postings, a row each.
type accountData struct {
	About  string
	Ledger coop.Ledger
	Rows   []accountRow
}

type accountRow struct {
	At     time.Time
	Txn    string
	JobID  string
	Number string
	Kind   coop.AccountKind
	Unit   string
	Amount int64
}

func account(about, owner string, l coop.Ledger) accountData {
	d := accountData{About: about, Ledger: l}
	for _, t := range l.Transactions {
		for _, p := range t.Postings {
			if p.Account.OwnerID == owner {
				d.Rows = append(d.Rows, accountRow{t.At, t.Kind, t.JobID, coop.Job{ID: t.JobID}.Number(), p.Account.Kind, p.Account.Unit, p.Amount})
			}
		}
	}
	return d
}
