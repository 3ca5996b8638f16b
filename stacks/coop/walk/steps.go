// SPDX-License-Identifier: AGPL-3.0-or-later

package walk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"
)

func (w *walker) openShop(ctx context.Context) error {
	m := w.merchant
	if err := m.open(ctx, "/shop"); err != nil {
		return err
	}
	if err := m.submit(ctx, "/shop", map[string]string{"name": "Shop " + w.Unique, "address": "1 Market Square"}); err != nil {
		return err
	}
	if err := m.expect("/shop/"); err != nil {
		return err
	}
	shop := m.at.Path
	w.receipt.ShopID = strings.TrimPrefix(shop, "/shop/")
	item := map[string]string{"name": "Soup of the day", "about": "with bread", "price": "15.00"}
	if err := m.submit(ctx, shop+"/items", item); err != nil {
		return err
	}
	card := find(m.page, func(n *html.Node) bool { return attr(n, "data-item") != "" })
	if w.item = attr(card, "data-item"); w.item == "" {
		return errors.New("walk: the new item isn't on the menu")
	}
	return m.submit(ctx, shop+"/opening", nil)
}

func (w *walker) goOnline(ctx context.Context) error {
	if err := w.courier.open(ctx, "/courier"); err != nil {
		return err
	}
	return w.courier.submit(ctx, "/courier/availability", nil)
}

func (w *walker) goOffline(ctx context.Context) error {
	if err := w.courier.open(ctx, "/courier"); err != nil {
		return err
	}
	form := find(w.courier.page, func(n *html.Node) bool { return n.Data == "form" && attr(n, "action") == "/courier/availability" })
	if form == nil || fields(form).Get("online") != "no" {
		return nil
	}
	return w.courier.submit(ctx, "/courier/availability", nil)
}

// leave takes the courier offline after a walk that failed, so that the next
// walk's order isn't offered to somebody who has gone.
func (w *walker) leave(ctx context.Context) {
	if w.courier == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = w.goOffline(ctx) // the walk's own error says more
}

func (w *walker) placeOrder(ctx context.Context) error {
	c, shop := w.customer, "/shops/"+w.receipt.ShopID
	if err := c.open(ctx, shop); err != nil {
		return err
	}
	basket := map[string]string{"qty-" + w.item: "2", "address": "7 Long Lane", "note": "second floor", "tip": "2.00"}
	if err := c.submit(ctx, shop+"/quote", basket); err != nil {
		return err
	}
	if err := c.expect("/quotes/"); err != nil {
		return err
	}
	if err := w.price(); err != nil {
		return err
	}
	if err := c.submit(ctx, c.at.Path+"/confirm", nil); err != nil {
		return err
	}
	if err := c.expect("/orders/"); err != nil {
		return err
	}
	w.receipt.OrderID = strings.TrimPrefix(c.at.Path, "/orders/")
	card := find(c.page, func(n *html.Node) bool { return attr(n, "data-pin") != "" })
	if w.pin = attr(card, "data-pin"); len(w.pin) < 4 {
		return errors.New("walk: the customer sees no PIN")
	}
	return c.state("placed")
}

// price reads the breakdown before the order, and checks that it adds up.
func (w *walker) price() error {
	r := &w.receipt
	for line, to := range map[string]*int64{
		"goods": &r.Goods, "delivery": &r.Delivery, "tip": &r.Tip, "total": &r.Total,
		"commission": &r.Commission, "fund": &r.Fund, "provider": &r.Provider, "worker": &r.Worker,
	} {
		n, err := w.customer.amount(line)
		if err != nil {
			return err
		}
		*to = n
	}
	switch {
	case r.Total == 0 || r.Goods+r.Delivery+r.Tip != r.Total:
		return fmt.Errorf("walk: %d + %d + %d isn't the total of %d", r.Goods, r.Delivery, r.Tip, r.Total)
	case r.Provider+r.Worker+r.Commission+r.Fund != r.Total:
		return fmt.Errorf("walk: the shares %d + %d + %d + %d aren't the total of %d", r.Provider, r.Worker, r.Commission, r.Fund, r.Total)
	}
	return nil
}

func (w *walker) shopAccepts(ctx context.Context) error {
	shop := "/shop/" + w.receipt.ShopID
	if err := w.merchant.open(ctx, shop); err != nil {
		return err
	}
	return w.merchant.submit(ctx, shop+"/orders/"+w.receipt.OrderID+"/accept", nil)
}

// pickUp waits for the offer of this order: another courier may be asked first.
func (w *walker) pickUp(ctx context.Context) error {
	c, end := w.courier, time.Now().Add(w.Patience)
	for {
		if err := c.open(ctx, "/courier"); err != nil {
			return err
		}
		offer := find(c.page, func(n *html.Node) bool { return attr(n, "data-offer") != "" })
		if attr(offer, "data-order") == w.receipt.OrderID {
			if err := c.submit(ctx, "/courier/offers/"+attr(offer, "data-offer")+"/accept", nil); err != nil {
				return err
			}
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("walk: the order wasn't offered to the courier within %s", w.Patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return c.submit(ctx, "/courier/orders/"+w.receipt.OrderID+"/pick-up", nil)
}

func (w *walker) deliver(ctx context.Context) error {
	order := "/courier/orders/" + w.receipt.OrderID
	if err := w.courier.submit(ctx, order+"/deliver", map[string]string{"pin": w.pin}); err != nil {
		return err
	}
	if err := w.courier.submit(ctx, order+"/collect", nil); err != nil {
		return err
	}
	if err := w.customer.open(ctx, "/orders/"+w.receipt.OrderID); err != nil {
		return err
	}
	return w.customer.state("closed")
}

// statements checks what shop and courier see of this order.
func (w *walker) statements(ctx context.Context) error {
	r := w.receipt
	if err := w.merchant.open(ctx, "/shop/"+r.ShopID+"/statement"); err != nil {
		return err
	}
	if err := w.merchant.sees(r.OrderID, []Posting{{"provider_payable", -r.Provider}}); err != nil {
		return err
	}
	if err := w.courier.open(ctx, "/courier/earnings"); err != nil {
		return err
	}
	return w.courier.sees(r.OrderID, []Posting{{"worker_cash", r.Total}, {"worker_payable", -r.Worker}})
}

func (p *person) sees(order string, want []Posting) error {
	got, err := p.postings(order)
	if err != nil {
		return err
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("walk: %s sees the postings %v and not %v", p.name, got, want)
	}
	return nil
}

// postings reads the postings of one order on the page that's open.
func (p *person) postings(order string) (list []Posting, err error) {
	for _, n := range all(p.page, func(n *html.Node) bool { return has(n, "data-posting") && attr(n, "data-order") == order }) {
		amount, err := strconv.ParseInt(attr(n, "data-amount"), 10, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, Posting{attr(n, "data-account"), amount})
	}
	return list, nil
}

// ledger reads the order's postings as the admin, checks them against the price
// that the customer was shown, and has the whole record checked.
func (w *walker) ledger(ctx context.Context) error {
	a, r := w.admin, &w.receipt
	if err := a.open(ctx, "/ledger"); err != nil {
		return err
	}
	var err error
	if r.Postings, err = a.postings(r.OrderID); err != nil {
		return err
	}
	want := []Posting{{"worker_cash", r.Total}, {"customer_receivable", -r.Total},
		{"customer_receivable", r.Total}, {"provider_payable", -r.Provider}, {"worker_payable", -r.Worker}, {"coop_revenue", -r.Commission}, {"hardship_fund", -r.Fund}}
	want = slices.DeleteFunc(want, func(p Posting) bool { return p.Amount == 0 })
	if fmt.Sprint(r.Postings) != fmt.Sprint(want) {
		return fmt.Errorf("walk: the ledger shows %v for the order and not %v", r.Postings, want)
	}
	if n := find(a.page, func(n *html.Node) bool { return has(n, "data-balanced") }); attr(n, "data-balanced") != "yes" {
		return errors.New("walk: the ledger says that it doesn't balance")
	}
	if err := a.wholeSum(); err != nil {
		return err
	}
	if err := a.open(ctx, "/audit"); err != nil {
		return err
	}
	if n := find(a.page, func(n *html.Node) bool { return n.Data == "main" }); attr(n, "data-audit") != "good" {
		return errors.New("walk: the check of the whole record found something wrong: " + words(n))
	}
	return nil
}

// wholeSum adds up the balances itself rather than believe the page's own sum.
func (p *person) wholeSum() error {
	sums := map[string]int64{}
	for _, n := range all(p.page, func(n *html.Node) bool { return has(n, "data-balance") }) {
		amount, err := strconv.ParseInt(attr(n, "data-amount"), 10, 64)
		if err != nil {
			return err
		}
		sums[attr(n, "data-unit")] += amount
	}
	if len(sums) == 0 {
		return errors.New("walk: the ledger shows no balances")
	}
	for unit, sum := range sums {
		if sum != 0 {
			return fmt.Errorf("walk: the balances in %s add up to %d and not to 0", unit, sum)
		}
	}
	return nil
}
