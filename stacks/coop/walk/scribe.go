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
	shop     string // path of its page
	written  int
	acked    []string
}

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
	return &Scribe{merchant: w.merchant, shop: w.merchant.at.Path}, nil
}

// Write adds one dish to the menu. It counts as acknowledged when the platform
// says that it has it.
func (s *Scribe) Write(ctx context.Context) error {
	s.written++
	name := fmt.Sprintf("Dish %06d", s.written)
	target := s.merchant.base.ResolveReference(&url.URL{Path: s.shop + "/items"})
	form := url.Values{"name": {name}, "about": {"as written"}, "price": {"1.00"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", target.Scheme+"://"+target.Host)
	resp, err := s.merchant.client.Do(req)
	if err != nil {
		return fmt.Errorf("walk: write %s: %w", name, err)
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("walk: write %s: answered %d", name, resp.StatusCode)
	}
	s.acked = append(s.acked, name)
	return nil
}

// Acknowledged is how many writes the platform said it has.
func (s *Scribe) Acknowledged() int { return len(s.acked) }

// Check reads the menu and wants everything that was acknowledged to be there,
// once.
func (s *Scribe) Check(ctx context.Context) error {
	if err := s.merchant.open(ctx, s.shop); err != nil {
		return err
	}
	seen := map[string]int{}
	for _, card := range all(s.merchant.page, func(n *html.Node) bool { return attr(n, "data-item") != "" }) {
		if _, rest, ok := strings.Cut(words(card), "Dish "); ok && len(rest) >= 6 {
			seen["Dish "+rest[:6]]++
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
