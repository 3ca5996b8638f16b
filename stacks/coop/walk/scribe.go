// SPDX-License-Identifier: AGPL-3.0-or-later

package walk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// Scribe writes to a platform again and again and remembers what was
// acknowledged, so that it can be told later whether any of it was lost. It is
// for one goroutine.
type Scribe struct {
	merchant *person
	shops    []shop // the last one takes what is written
	room     int    // for more dishes in that one
	written  int
	acked    []string
}

// shop is the path of a shop's page, and how many writes were acknowledged before it
// was opened.
type shop struct {
	path   string
	opened int
}

// perShop is how many dishes a scribe writes into one menu, which has a limit.
const perShop = 150

// NewScribe makes a shop owner of its own with the help of the admin in o.
func NewScribe(ctx context.Context, o Options) (*Scribe, error) {
	w := &walker{Options: o}
	for _, do := range []func(context.Context) error{w.enterAdmin, w.signUps, w.grants, w.openShop} {
		if err := do(ctx); err != nil {
			return nil, err
		}
	}
	// What the answer to a write redirects to is of no interest here.
	w.merchant.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Scribe{merchant: w.merchant, shops: []shop{{path: w.merchant.at.Path}}, room: perShop}, nil
}

// Write adds one dish to the menu. It counts as acknowledged when the platform
// says that it has it.
func (s *Scribe) Write(ctx context.Context) error {
	if s.room == 0 {
		path, err := s.post(ctx, "/shop", url.Values{"name": {fmt.Sprintf("Shop %d", len(s.shops))}, "address": {"1 Market Square"}})
		if err != nil {
			return err
		}
		s.shops, s.room = append(s.shops, shop{path, len(s.acked)}), perShop
	}
	s.room--
	s.written++
	name := fmt.Sprintf("Dish %06d", s.written)
	if _, err := s.post(ctx, s.shops[len(s.shops)-1].path+"/items", url.Values{"name": {name}, "about": {"as written"}, "price": {"1.00"}}); err != nil {
		return fmt.Errorf("walk: write %s: %w", name, err)
	}
	s.acked = append(s.acked, name)
	return nil
}

// post sends a form and gives the path that the answer leads to.
func (s *Scribe) post(ctx context.Context, path string, form url.Values) (to string, err error) {
	target := s.merchant.base.ResolveReference(&url.URL{Path: path})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", target.Scheme+"://"+target.Host)
	resp, err := s.merchant.client.Do(req)
	if err != nil {
		return "", err
	}
	if err := resp.Body.Close(); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("walk: %s answered %d", path, resp.StatusCode)
	}
	return resp.Header.Get("Location"), nil
}

// Acknowledged is how many writes the platform said it has.
func (s *Scribe) Acknowledged() int { return len(s.acked) }

// Forget tells that the data went back to what they were at some time after the first
// n writes were acknowledged: what came later is given up, and so are the shops that
// were opened later. The next write goes into a new one.
func (s *Scribe) Forget(n int) {
	kept := s.shops[:1]
	for _, x := range s.shops[1:] {
		if x.opened < n {
			kept = append(kept, x)
		}
	}
	s.shops, s.room, s.acked = kept, 0, s.acked[:min(n, len(s.acked))]
}

// Check reads the menus and wants everything that was acknowledged to be there,
// once.
func (s *Scribe) Check(ctx context.Context) error {
	seen := map[string]int{}
	for _, shop := range s.shops {
		if err := s.merchant.open(ctx, shop.path); err != nil {
			return err
		}
		for _, card := range all(s.merchant.page, func(n *html.Node) bool { return attr(n, "data-item") != "" }) {
			if _, rest, ok := strings.Cut(words(card), "Dish "); ok && len(rest) >= 6 {
				seen["Dish "+rest[:6]]++
			}
		}
	}
	var wrong []error
	for _, name := range s.acked {
		if seen[name] != 1 {
			wrong = append(wrong, fmt.Errorf("walk: %s was acknowledged and is there %d times", name, seen[name]))
		}
	}
	return errors.Join(wrong...)
}
