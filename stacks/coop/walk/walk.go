// SPDX-License-Identifier: AGPL-3.0-or-later

package walk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// Account is how a person signs in.
type Account struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// Options say which platform to walk through, and as whom.
type Options struct {
	BaseURL   string          // https://rides.example, with a port if it isn't 443
	Transport *http.Transport // trust and dialling; nil is the default
	JoinPath  string          // one-time path that makes the first admin; "" signs in as Admin
	Admin     Account         // used when JoinPath is ""
	Unique    string          // makes the people of this walk different from another's
	Patience  time.Duration   // how long to wait for an offer; 0 is 20 s
	Say       func(string)    // told of every step; may be nil
}

// Posting is one line of the ledger page, in minor units; positive is debit.
type Posting struct {
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// Receipt is what a walk saw. It can be kept as JSON and verified later.
type Receipt struct {
	OrderID    string    `json:"order_id"`
	ShopID     string    `json:"shop_id"`
	Goods      int64     `json:"goods"`
	Delivery   int64     `json:"delivery"`
	Tip        int64     `json:"tip"`
	Total      int64     `json:"total"`
	Commission int64     `json:"commission"`
	Fund       int64     `json:"fund"`
	Provider   int64     `json:"provider"`
	Worker     int64     `json:"worker"`
	Postings   []Posting `json:"postings"` // of this order, in the ledger's order
	Admin      Account   `json:"admin"`
	Customer   Account   `json:"customer"`
}

// walker is one walk under way.
type walker struct {
	Options
	admin, merchant, courier, customer *person
	receipt                            Receipt
	item                               string
	pin                                string
}

// Order walks one order: an admin joins, makes a courier and a shop owner; a shop
// opens; a customer orders two dishes of 15.00 with a tip of 2.00; the shop
// accepts, the courier delivers for the PIN and takes the cash; the ledger shows
// it all and balances. Several walks at once on one platform may be offered each
// other's orders: walk one after the other.
func Order(ctx context.Context, o Options) (Receipt, error) {
	w := &walker{Options: o}
	if w.Patience == 0 {
		w.Patience = 20 * time.Second
	}
	for _, s := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"the admin comes in", w.enterAdmin},
		{"courier, shop owner and customer sign up", w.signUps},
		{"the admin gives them their roles", w.grants},
		{"the shop opens with a menu", w.openShop},
		{"the courier goes online", w.goOnline},
		{"the customer sees the price and orders", w.placeOrder},
		{"the shop accepts", w.shopAccepts},
		{"the courier accepts the offer and picks up", w.pickUp},
		{"the courier delivers for the PIN and takes the cash", w.deliver},
		{"everybody sees their money", w.statements},
		{"the ledger balances", w.ledger},
	} {
		if o.Say != nil {
			o.Say(s.what)
		}
		if err := s.do(ctx); err != nil {
			w.leave(context.WithoutCancel(ctx))
			return w.receipt, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return w.receipt, w.goOffline(ctx)
}

// Verify signs in as the receipt's admin and finds the same order and the same
// postings, and books that balance. It changes nothing but the session.
func Verify(ctx context.Context, o Options, r Receipt) error {
	a, err := NewAuditor(ctx, o, r)
	if err != nil {
		return err
	}
	return a.Verify(ctx)
}

// Auditor is signed in as a receipt's admin. Whoever looks often needs one: a platform
// lets nobody sign in again and again.
type Auditor struct {
	walker  *walker
	receipt Receipt
}

// NewAuditor signs in.
func NewAuditor(ctx context.Context, o Options, r Receipt) (*Auditor, error) {
	w := &walker{Options: o, receipt: r}
	w.JoinPath, w.Admin = "", r.Admin
	return &Auditor{w, r}, w.enterAdmin(ctx)
}

// Verify finds what [Verify] does. It changes nothing.
func (a *Auditor) Verify(ctx context.Context) error {
	w, r := a.walker, a.receipt
	seen := r.Postings
	w.receipt = r
	if err := w.ledger(ctx); err != nil {
		return err
	}
	if fmt.Sprint(w.receipt.Postings) != fmt.Sprint(seen) {
		return fmt.Errorf("walk: the ledger shows %v for the order and not %v", w.receipt.Postings, seen)
	}
	if err := w.admin.open(ctx, "/orders/"+r.OrderID); err != nil {
		return err
	}
	if total, err := w.admin.amount("total"); err != nil || total != r.Total {
		return errors.Join(err, fmt.Errorf("walk: the order's total is %d and not %d", total, r.Total))
	}
	return w.admin.state("closed")
}

func (w *walker) account(role string) Account {
	return Account{Email: role + "-" + strings.ToLower(w.Unique) + "@walk.example", Password: "walk along " + role + " " + w.Unique}
}

func (w *walker) enterAdmin(ctx context.Context) (err error) {
	if w.admin, err = newPerson("the admin", w.Options); err != nil {
		return err
	}
	if w.JoinPath == "" {
		w.receipt.Admin = w.Admin
		return w.admin.signIn(ctx, w.Admin)
	}
	w.receipt.Admin = w.account("admin")
	if err := w.admin.open(ctx, w.JoinPath); err != nil {
		return err
	}
	if err := w.admin.submit(ctx, w.JoinPath, signUpForm("Ada Admin", w.receipt.Admin)); err != nil {
		return err
	}
	return w.admin.expect("/members")
}

func signUpForm(name string, a Account) map[string]string {
	return map[string]string{"name": name, "email": a.Email, "password": a.Password}
}

func (p *person) signIn(ctx context.Context, a Account) error {
	if err := p.open(ctx, "/sign-in"); err != nil {
		return err
	}
	return p.submit(ctx, "/sign-in", map[string]string{"email": a.Email, "password": a.Password})
}

func (w *walker) signUps(ctx context.Context) error {
	w.receipt.Customer = w.account("customer")
	for _, who := range []struct {
		slot **person
		role string
		name string
	}{{&w.merchant, "merchant", "Mo Merchant"}, {&w.courier, "courier", "Cleo Courier"}, {&w.customer, "customer", "Cas Customer"}} {
		p, err := newPerson("the "+who.role, w.Options)
		if err != nil {
			return err
		}
		if err := p.open(ctx, "/sign-up"); err != nil {
			return err
		}
		if err := p.submit(ctx, "/sign-up", signUpForm(who.name+" "+w.Unique, w.account(who.role))); err != nil {
			return err
		}
		*who.slot = p
	}
	return nil
}

func (w *walker) grants(ctx context.Context) error {
	for _, role := range []string{"merchant", "courier"} {
		if err := w.admin.open(ctx, "/members"); err != nil {
			return err
		}
		email := w.account(role).Email
		card := find(w.admin.page, func(n *html.Node) bool { return attr(n, "data-email") == email })
		if card == nil {
			return fmt.Errorf("walk: %s isn't among the members", email)
		}
		if err := w.admin.give(ctx, card, role); err != nil {
			return err
		}
	}
	return nil
}

// give presses the button of one role on a member's card: there is a form for
// each role, so the card's own is sent.
func (p *person) give(ctx context.Context, card *html.Node, role string) error {
	form := find(card, func(n *html.Node) bool { return n.Data == "form" && fields(n).Get("role") == role })
	if form == nil || fields(form).Get("change") != "grant" {
		return fmt.Errorf("walk: there's no button that makes a member %s", role)
	}
	return p.send(ctx, form, nil)
}

// amount reads a line of the price breakdown.
func (p *person) amount(line string) (int64, error) {
	n := find(p.page, func(n *html.Node) bool { return attr(n, "data-line") == line })
	if n == nil {
		return 0, nil // a line that's left out is zero
	}
	return strconv.ParseInt(attr(n, "data-amount"), 10, 64)
}

// state checks the order page that's open.
func (p *person) state(want string) error {
	n := find(p.page, func(n *html.Node) bool { return n.Data == "main" })
	if got := attr(n, "data-state"); got != want {
		return fmt.Errorf("walk: the order is %q and not %q for %s", got, want, p.name)
	}
	return nil
}
