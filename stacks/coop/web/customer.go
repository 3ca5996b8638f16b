// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"
	"strconv"
	"strings"

	"rochdale/stacks/coop"
)

// reloadAfter is how often a live page reloads, in seconds.
const reloadAfter = 15

func (s *Server) shops(r *http.Request, who coop.Member) (view, error) {
	list, err := s.app.Shops(r.Context())
	return view{page: "shops", heading: s.say(r, who, "nav.shops"), data: list}, err
}

func (s *Server) menu(r *http.Request, _ coop.Member) (view, error) {
	shop, err := s.app.Shop(r.Context(), r.PathValue("shop"))
	return view{page: "menu", heading: shop.Name, data: shop}, err
}

func (s *Server) quote(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	f := r.PostForm
	b := coop.Basket{ShopID: r.PathValue("shop"), Quantities: map[string]int64{}, Address: f.Get("address"), Note: f.Get("note"), Tip: f.Get("tip")}
	for name := range f {
		id, ok := strings.CutPrefix(name, "qty-")
		if !ok || f.Get(name) == "" {
			continue
		}
		n, err := strconv.ParseInt(f.Get(name), 10, 32)
		if err != nil {
			return "", &coop.Problem{Kind: coop.Invalid, Key: "quantity", Field: name}
		}
		b.Quantities[id] = n
	}
	id, err := s.app.Quote(r.Context(), who, b)
	return "/quotes/" + id, err
}

type quoteData struct {
	Quote coop.Quote
	Shop  coop.Provider
}

func (s *Server) quotePage(r *http.Request, who coop.Member) (view, error) {
	if who.ID == "" {
		return view{}, &coop.Problem{Kind: coop.SignIn, Key: "sign_in"}
	}
	q, shop, err := s.app.QuoteOf(r.Context(), who, r.PathValue("quote"))
	return view{page: "quote", heading: s.say(r, who, "quote.title"), data: quoteData{q, shop}}, err
}

func (s *Server) confirm(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	if who.ID == "" {
		return "", &coop.Problem{Kind: coop.SignIn, Key: "sign_in"}
	}
	id, err := s.app.Place(r.Context(), who, r.PathValue("quote"))
	return "/orders/" + id, err
}

func (s *Server) orders(r *http.Request, who coop.Member) (view, error) {
	list, err := s.app.MyOrders(r.Context(), who)
	return view{page: "orders", heading: s.say(r, who, "nav.orders"), data: list}, err
}

func (s *Server) allOrders(r *http.Request, who coop.Member) (view, error) {
	list, err := s.app.AllOrders(r.Context(), who)
	return view{page: "orders", heading: s.say(r, who, "nav.all_orders"), data: list}, err
}

func (s *Server) order(r *http.Request, who coop.Member) (view, error) {
	if who.ID == "" {
		return view{}, &coop.Problem{Kind: coop.SignIn, Key: "sign_in"}
	}
	o, err := s.app.Order(r.Context(), who, r.PathValue("order"))
	if err != nil {
		return view{}, err
	}
	v := view{page: "order", heading: s.say(r, who, "orders.number", "number", o.Number()) + " · " + o.Shop.Name, data: o,
		marks: map[string]string{"state": string(o.State)}}
	s.live(r, &v, !s.app.Flow().Over(o.State))
	return v, nil
}

// live lets a page reload by itself if its reader asked for that; nobody is
// surprised by a page that changes on its own.
func (s *Server) live(r *http.Request, v *view, changing bool) {
	if v.live = r.URL.Query().Get("live") == "1"; v.live && changing && r.Method == http.MethodGet {
		v.reload = reloadAfter
	}
}

func (s *Server) cancel(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	id := r.PathValue("order")
	return "/orders/" + id, s.app.CancelOrder(r.Context(), who, id, r.PostForm.Get("reason"))
}

func (s *Server) renewPIN(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	id := r.PathValue("order")
	return "/orders/" + id, s.app.RenewPIN(r.Context(), who, id)
}

func (s *Server) giveBack(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	id := r.PathValue("order")
	return "/orders/" + id, s.app.Return(r.Context(), who, id, r.PostForm.Get("reason"))
}
