// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"

	"rochdale/stacks/coop"
)

func (s *Server) routes() {
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /style-"+s.tag+".css", s.stylesheet)
	s.get("/{$}", s.home)
	s.get("/", func(*http.Request, coop.Member) (view, error) {
		return view{}, &coop.Problem{Kind: coop.NotFound, Key: "no_page"}
	})
	s.post("/language", s.language, nil)

	s.get("/join/{token}", s.joinPage)
	s.post("/join/{token}", s.join, s.joinForm)
	s.get("/reset/{token}", s.resetPage)
	s.post("/reset/{token}", s.reset, s.resetPage)
	s.get("/sign-up", s.signUpPage)
	s.post("/sign-up", s.signUp, s.signUpPage)
	s.get("/sign-in", s.signInPage)
	s.post("/sign-in", s.signIn, s.signInPage)
	s.post("/sign-out", s.signOut, nil)

	s.get("/shops", s.shops)
	s.get("/shops/{shop}", s.menu)
	s.post("/shops/{shop}/quote", s.quote, s.menu)
	s.get("/quotes/{quote}", s.quotePage)
	s.post("/quotes/{quote}/confirm", s.confirm, s.quotePage)
	s.get("/orders", s.orders)
	s.get("/orders/all", s.allOrders)
	s.get("/orders/{order}", s.order)
	s.post("/orders/{order}/cancel", s.cancel, s.order)
	s.post("/orders/{order}/pin", s.renewPIN, s.order)
	s.post("/orders/{order}/return", s.giveBack, s.order)

	s.get("/shop", s.myShops)
	s.post("/shop", s.addShop, s.myShops)
	s.get("/shop/{shop}", s.myShop)
	s.post("/shop/{shop}/opening", s.opening, s.myShop)
	s.post("/shop/{shop}/items", s.addItem, s.myShop)
	s.post("/shop/{shop}/items/{item}", s.changeItem, s.myShop)
	s.post("/shop/{shop}/orders/{order}/accept", s.acceptOrder, s.myShop)
	s.post("/shop/{shop}/orders/{order}/refuse", s.refuseOrder, s.myShop)
	s.get("/shop/{shop}/statement", s.statement)

	s.get("/courier", s.courier)
	s.post("/courier/availability", s.availability, s.courier)
	s.post("/courier/offers/{offer}/accept", s.acceptOffer, s.courier)
	s.post("/courier/offers/{offer}/decline", s.declineOffer, s.courier)
	s.post("/courier/orders/{order}/pick-up", s.pickUp, s.courier)
	s.post("/courier/orders/{order}/deliver", s.deliver, s.courier)
	s.post("/courier/orders/{order}/collect", s.collect, s.courier)
	s.post("/courier/orders/{order}/return", s.bringBack, s.courier)
	s.get("/courier/earnings", s.earnings)

	s.get("/members", s.members)
	s.post("/members/{member}/roles", s.roles, s.members)
	s.reveal("/members/{member}/reset", s.resetLink, s.members)
	s.get("/settings", s.settings)
	s.post("/settings", s.changeSettings, s.settings)
	s.get("/ledger", s.ledger)
	s.get("/ledger/{transaction}/reverse", s.reversePage)
	s.post("/ledger/{transaction}/reverse", s.reverse, s.reversePage)
	s.post("/ledger/hand-in", s.handIn, s.ledger)
	s.get("/audit", s.audit)
}

// say is the text of a key for this request.
func (s *Server) say(r *http.Request, who coop.Member, key string, pairs ...string) string {
	return s.words.T(s.lang(r, who), key, pairs...)
}

func (s *Server) home(r *http.Request, who coop.Member) (view, error) {
	p := s.paper(r, who, view{}, nil)
	return view{page: "home", heading: s.say(r, who, "home.title", "coop", s.cfg.Name), data: p.nav()}, nil
}
