// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

// Part names what a percentage is taken of, or who bears it.
type Part string

// What a percentage can be based on.
const (
	BaseGoods    Part = "goods"    // the shop's items
	BaseDelivery Part = "delivery" // the delivery fee
	BaseBoth     Part = "both"     // items and fee
)

// Who bears a percentage.
const (
	FromPayees   Part = "payees"   // shop and courier, in proportion to the base
	FromProvider Part = "provider" // the shop first; the courier's pay is protected
	FromCoop     Part = "coop"     // the co-op's own commission
)

// SplitRule is how an order's money is shared. A tip is never part of any base:
// all of it is the courier's.
type SplitRule struct {
	CommissionBP   int64 // basis points
	CommissionBase Part  // BaseGoods, BaseDelivery or BaseBoth
	CommissionFrom Part  // FromPayees or FromProvider
	FundBP         int64 // basis points for the hardship fund
	FundBase       Part  // BaseGoods, BaseDelivery or BaseBoth
	FundFrom       Part  // FromCoop, FromPayees or FromProvider
}

// Price is what the customer pays, in minor units.
type Price struct {
	Goods    int64
	Delivery int64
	Tip      int64
}

// Total is all that the customer pays.
func (p Price) Total() int64 { return p.Goods + p.Delivery + p.Tip }

// Shares is who gets what of a Price; the four always add up to its total and
// none is negative.
type Shares struct {
	Provider int64 // the shop
	Worker   int64 // the courier, tip included
	Coop     int64 // commission left to the co-op
	Fund     int64 // hardship fund
}

// Total is the sum of all shares.
func (s Shares) Total() int64 { return s.Provider + s.Worker + s.Coop + s.Fund }

// Split shares a price by the rule. Percentages round half up, but never take
// more than there is; what they take is spread over shop and courier by largest
// remainder, so no cent is lost or made.
func Split(p Price, r SplitRule) Shares {
	provider, worker := p.Goods, p.Delivery
	commission := take(&provider, &worker, Percent(base(p, r.CommissionBase), r.CommissionBP), r.CommissionBase, r.CommissionFrom)
	fund := Percent(base(p, r.FundBase), r.FundBP)
	if r.FundFrom == FromCoop {
		fund = min(fund, commission)
		commission -= fund
	} else {
		fund = take(&provider, &worker, fund, r.FundBase, r.FundFrom)
	}
	return Shares{Provider: provider, Worker: worker + p.Tip, Coop: commission, Fund: fund}
}

func base(p Price, b Part) int64 {
	switch b {
	case BaseGoods:
		return p.Goods
	case BaseDelivery:
		return p.Delivery
	}
	return p.Goods + p.Delivery
}

// take moves amount out of the two payees' money and returns what it could move.
func take(provider, worker *int64, amount int64, of, from Part) int64 {
	amount = min(amount, *provider+*worker)
	weights := []int64{*provider, *worker}
	switch {
	case from == FromProvider:
		weights[1] = 0
	case of == BaseGoods && *provider >= amount:
		weights[1] = 0
	case of == BaseDelivery && *worker >= amount:
		weights[0] = 0
	}
	parts := Allocate(amount, weights)
	parts = spill(parts, *provider, *worker)
	*provider -= parts[0]
	*worker -= parts[1]
	return amount
}

// spill moves what one payee doesn't have to the other, so that nobody's share
// falls below zero.
func spill(parts []int64, provider, worker int64) []int64 {
	if over := parts[0] - provider; over > 0 {
		return []int64{provider, parts[1] + over}
	}
	if over := parts[1] - worker; over > 0 {
		return []int64{parts[0] + over, worker}
	}
	return parts
}
