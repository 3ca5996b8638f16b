// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"database/sql"
	"net/url"
	"strings"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
)

func (s *teller) begins() {
	s.shot("home", "", "/")
	s.shot("shops-none", "", "/shops")
	s.shot("sign-in", "", "/sign-in")
	s.shot("sign-up", "", "/sign-up")
	s.sent("sign-up-refused", "", "/sign-up", "name", "Ann", "email", "ann", "password", "a long password")
	link, err := s.app.NewAdminLink(s.t.Context(), false)
	s.check(err)
	s.shot("join", "", "/join/"+link)
	s.sent("join-refused", "", "/join/"+link, "name", "Ada Admin", "email", "ada@rides.example", "password", "short")
	s.do("admin", "/join/"+link, "name", "Ada Admin", "email", "ada@rides.example", "password", "a long password")
	s.shot("join-used", "", "/join/"+link)
	s.shot("orders-all-none", "admin", "/orders/all")
	s.shot("ledger-none", "admin", "/ledger")
	s.shot("settings-first", "admin", "/settings")
	s.shot("audit-first", "admin", "/audit")
	s.shot("members-one", "admin", "/members")
}

func (s *teller) people() {
	for _, p := range [][2]string{{"merchant", "Möhring & Söhne <Bäckerei>"}, {"courier", "Cleo Courier"}, {"client", "Cas Customer-with-a-rather-long-name van Rotterdam"}} {
		s.do(p[0], "/sign-up", "name", p[1], "email", p[0]+"@rides.example", "password", "a long password")
		if p[0] != "client" {
			s.do("admin", "/members/"+s.who(p[0]).ID+"/roles", "role", p[0], "change", "grant")
		}
		s.shot("home-"+p[0], p[0], "/")
	}
	s.shot("home-admin", "admin", "/")
	s.shot("members", "admin", "/members")
	s.shot("members-nobody", "admin", "/members?q=zzz")
	s.shot("orders-none", "client", "/orders")
	s.shot("courier-offline", "courier", "/courier")
	s.shot("earnings-none", "courier", "/courier/earnings")
}

func (s *teller) shops() {
	s.shot("my-shops-none", "merchant", "/shop")
	s.sent("my-shops-refused", "merchant", "/shop", "name", "", "address", "1 Market Square")
	s.shop = s.do("merchant", "/shop", "name", "Möhring’s soups", "address", "1 Market Square")
	s.id = strings.TrimPrefix(s.shop, "/shop/")
	s.shot("my-shop-empty", "merchant", s.shop)
	s.sent("my-shop-cant-open", "merchant", s.shop+"/opening", "opening", "open")
	s.shot("menu-none", "client", "/shops/"+s.id)
	s.sent("my-shop-refused-item", "merchant", s.shop+"/items", "name", "Soup", "price", "a lot", "available", "yes")
	s.do("merchant", s.shop+"/items", "name", "Lentil soup with roasted pumpkin seeds", "about", "Contains celery, mustard and sesame.", "price", "15", "available", "yes")
	s.do("merchant", s.shop+"/items", "name", "Bread", "price", "2.50")
	shop, err := s.app.Shop(s.t.Context(), s.id)
	s.check(err)
	s.soup = shop.Menu[0].ID
	s.shot("menu-paused", "client", "/shops/"+s.id)
	s.do("merchant", s.shop+"/opening", "opening", "open")
	s.shot("my-shop", "merchant", s.shop)
	s.shot("my-shops", "merchant", "/shop")
	s.shot("statement-none", "merchant", s.shop+"/statement")
	s.shot("shops", "client", "/shops")
	s.shot("menu-nobody", "", "/shops/"+s.id)
	s.shot("menu", "client", "/shops/"+s.id)
	s.sent("menu-refused", "client", "/shops/"+s.id+"/quote", "qty-"+s.soup, "99", "address", "7 Long Lane", "tip", "2")
}

// quoted is a price that the client was shown.
func (s *teller) quoted() string {
	return s.do("client", "/shops/"+s.id+"/quote", "qty-"+s.soup, "2", "address", "7 Long Lane, second floor", "note", "Please ring twice", "tip", "2")
}

func (s *teller) ordered() string { return s.do("client", s.quoted()+"/confirm") }

func (s *teller) ordering() {
	s.shot("quote", "client", s.quoted())
}

// riding is an order on its way to the customer.
func (s *teller) riding() {
	order := s.ordered()
	id := strings.TrimPrefix(order, "/orders/")
	s.shot("order-placed", "client", order)
	s.shot("order-placed-live", "client", order+"?live=1")
	s.shot("order-placed-admin", "admin", order)
	s.shot("my-shop-placed", "merchant", s.shop)
	s.do("merchant", s.shop+"/orders/"+id+"/accept")
	s.shot("order-accepted", "client", order)
	s.do("courier", "/courier/availability", "online", "yes")
	s.shot("courier-offer", "courier", "/courier")
	s.shot("order-offered-admin", "admin", order)
	desk, err := s.app.CourierDesk(s.t.Context(), s.who("courier"))
	s.check(err)
	s.do("courier", "/courier/offers/"+desk.Offer.ID+"/accept")
	s.shot("order-assigned", "client", order)
	s.shot("courier-assigned", "courier", "/courier")
	s.do("courier", "/courier/orders/"+id+"/pick-up")
	s.shot("order-picked-up", "client", order)
	s.shot("order-picked-up-shop", "merchant", order)
	s.shot("courier-picked-up", "courier", "/courier")
}

// pin is the order of riding being handed over.
func (s *teller) pin() {
	jobs, err := s.app.CourierJobs(s.t.Context(), s.who("courier"))
	s.check(err)
	id := jobs[0].ID
	order, ride := "/orders/"+id, "/courier/orders/"+id
	s.sent("courier-return-refused", "courier", ride+"/return", "reason", "")
	s.sent("courier-pin-wrong", "courier", ride+"/deliver", "pin", "x")
	for range 9 {
		s.ask("courier", ride+"/deliver", url.Values{"pin": {"x"}})
	}
	s.sent("courier-pin-spent", "courier", ride+"/deliver", "pin", "x")
	s.shot("order-pin-spent", "client", order)
	s.do("client", order+"/pin")
	s.shot("order-pin-renewed", "client", order)
	mine, err := s.app.Order(s.t.Context(), s.who("client"), id)
	s.check(err)
	s.do("courier", ride+"/deliver", "pin", mine.PIN)
	s.shot("order-delivered", "client", order)
	s.shot("order-delivered-admin", "admin", order)
	s.shot("courier-delivered", "courier", "/courier")
	s.do("courier", ride+"/collect")
	s.shot("order-closed", "client", order)
	s.shot("courier-waiting", "courier", "/courier?live=1")
}

func (s *teller) money() {
	s.shot("earnings", "courier", "/courier/earnings")
	s.shot("statement", "merchant", s.shop+"/statement")
	s.shot("ledger", "admin", "/ledger")
	l, err := s.app.Ledger(s.t.Context(), s.who("admin"))
	s.check(err)
	reverse := "/ledger/" + l.Transactions[0].ID + "/reverse"
	s.shot("reverse", "admin", reverse)
	s.sent("reverse-refused", "admin", reverse, "reason", "")
	key := coop.NewKey()
	s.sent("hand-in-refused", "admin", "/ledger/hand-in", "courier", s.who("courier").ID, "amount", "1000", "key", key)
	s.do("admin", "/ledger/hand-in", "courier", s.who("courier").ID, "amount", "30", "key", key)
	s.do("admin", reverse, "reason", "Counted twice")
	s.shot("ledger-reversed", "admin", "/ledger")
}

// endings are the ways in which an order comes to nothing.
func (s *teller) endings() {
	cancelled := s.ordered()
	s.do("client", cancelled+"/cancel", "reason", "Changed my mind")
	s.shot("order-cancelled", "client", cancelled)
	refused := s.ordered()
	s.do("merchant", s.shop+refused+"/refuse", "reason", "No more soup today")
	s.shot("order-turned-down", "client", refused)
	returned := s.ordered()
	id := strings.TrimPrefix(returned, "/orders/")
	s.do("merchant", s.shop+"/orders/"+id+"/accept")
	desk, err := s.app.CourierDesk(s.t.Context(), s.who("courier"))
	s.check(err)
	s.do("courier", "/courier/offers/"+desk.Offer.ID+"/accept")
	s.do("courier", "/courier/orders/"+id+"/pick-up")
	s.sent("order-return-refused", "admin", returned+"/return", "reason", "")
	s.do("courier", "/courier/orders/"+id+"/return", "reason", "Nobody opened the door")
	s.shot("order-returned", "client", returned)
	s.shot("order-returned-admin", "admin", returned)
	s.shot("orders", "client", "/orders")
	s.shot("orders-all", "admin", "/orders/all")
	s.shot("my-shop-orders", "merchant", s.shop)
	late := s.quoted()
	time.Sleep(time.Hour)
	s.sent("quote-expired", "client", late+"/confirm")
}

func (s *teller) admins() {
	var fields []string
	for _, f := range coop.Schema() {
		fields = append(fields, f.Key, f.Show(f.Default, "EUR"))
	}
	s.sent("settings-refused", "admin", "/settings", append(fields, "reason", "As voted", coop.KeyCommission, "99")...)
	s.do("admin", "/settings", append(fields, "reason", "As voted on Monday", coop.KeyFund, "1")...)
	s.shot("settings", "admin", "/settings")
	s.shot("audit", "admin", "/audit")
	s.shot("not-allowed", "client", "/members")
	s.sent("last-admin", "admin", "/members/"+s.who("admin").ID+"/roles", "role", "admin", "change", "revoke")
	s.sent("reset-link", "admin", "/members/"+s.who("client").ID+"/reset")
	_, token, err := s.app.NewResetLink(s.t.Context(), s.who("admin"), s.who("client").ID)
	s.check(err)
	s.shot("reset", "", "/reset/"+token)
	s.sent("reset-refused", "", "/reset/"+token, "password", "short")
}

func (s *teller) strangers() {
	s.shot("no-page", "", "/nothing")
	s.sent("sign-in-wrong", "", "/sign-in", "email", "cas@rides.example", "password", "x", "next", "/orders")
	for range 10 {
		s.ask("", "/sign-in", url.Values{"email": {"cas@rides.example"}, "password": {"x"}})
	}
	s.sent("too-many", "", "/sign-in", "email", "cas@rides.example", "password", "x")
}

// spoilt is what the check of a changed record says.
func (s *teller) spoilt(path string) {
	db, err := sql.Open("sqlite", store.SQLiteDSN(path))
	s.check(err)
	defer func() { _ = db.Close() }()
	for _, q := range []string{"update events set data = '{}' where seq = 3", "update postings set amount = amount + 1 where place = 1"} {
		_, err := db.ExecContext(s.t.Context(), q)
		s.check(err)
	}
	s.shot("audit-bad", "admin", "/audit")
	s.shot("ledger-bad", "admin", "/ledger")
}
