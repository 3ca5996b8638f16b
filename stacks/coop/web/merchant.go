// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"

	"rochdale/stacks/coop"
)

func (s *Server) myShops(r *http.Request, who coop.Member) (view, error) {
	list, err := s.app.MyShops(r.Context(), who)
	return view{page: "my_shops", heading: s.say(r, who, "nav.my_shops"), data: list}, err
}

func (s *Server) addShop(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	id, err := s.app.AddShop(r.Context(), who, r.PostForm.Get("name"), r.PostForm.Get("address"))
	return "/shop/" + id, err
}

type shopData struct {
	Shop   coop.Shop
	Orders []coop.OrderView
}

func (s *Server) myShop(r *http.Request, who coop.Member) (view, error) {
	shop, err := s.app.Shop(r.Context(), r.PathValue("shop"))
	if err != nil {
		return view{}, err
	}
	if who.ID == "" {
		return view{}, &coop.Problem{Kind: coop.SignIn, Key: "sign_in"}
	}
	if shop.OwnerID != who.ID {
		return view{}, &coop.Problem{Kind: coop.NotFound, Key: "no_shop"}
	}
	orders, err := s.app.ShopOrders(r.Context(), who, shop.ID)
	v := view{page: "my_shop", heading: shop.Name, data: shopData{shop, orders}}
	s.live(r, &v, true)
	return v, err
}

func (s *Server) opening(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	id := r.PathValue("shop")
	return "/shop/" + id, s.app.SetOpening(r.Context(), who, id, coop.Opening(r.PostForm.Get("opening")))
}

func readItem(r *http.Request) coop.Item {
	f := r.PostForm
	return coop.Item{Name: f.Get("name"), About: f.Get("about"), Price: f.Get("price"), Available: f.Get("available") == "yes"}
}

func (s *Server) addItem(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	id := r.PathValue("shop")
	return "/shop/" + id, s.app.AddItem(r.Context(), who, id, readItem(r))
}

func (s *Server) changeItem(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	id := r.PathValue("shop")
	return "/shop/" + id, s.app.ChangeItem(r.Context(), who, id, r.PathValue("item"), readItem(r))
}

func (s *Server) acceptOrder(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/shop/" + r.PathValue("shop"), s.app.AcceptOrder(r.Context(), who, r.PathValue("order"))
}

func (s *Server) refuseOrder(_ http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	return "/shop/" + r.PathValue("shop"), s.app.RefuseOrder(r.Context(), who, r.PathValue("order"), r.PostForm.Get("reason"))
}

func (s *Server) statement(r *http.Request, who coop.Member) (view, error) {
	if who.ID == "" {
		return view{}, &coop.Problem{Kind: coop.SignIn, Key: "sign_in"}
	}
	shop, l, err := s.app.Statement(r.Context(), who, r.PathValue("shop"))
	return view{page: "account", heading: s.say(r, who, "statement.title", "shop", shop.Name), data: account("statement.about", shop.ID, l)}, err
}
