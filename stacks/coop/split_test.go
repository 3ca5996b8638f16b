// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"testing"

	"pgregory.net/rapid"
)

// The worked example: 30.00 of food, 5.00 delivery, 2.00 tip, 3 % commission and
// 1 % hardship fund.
func example() Price { return Price{Goods: 3000, Delivery: 500, Tip: 200} }

func rule(change func(*SplitRule)) SplitRule {
	r := SplitRule{CommissionBP: 300, CommissionBase: BaseBoth, CommissionFrom: FromPayees, FundBP: 100, FundBase: BaseBoth, FundFrom: FromPayees}
	if change != nil {
		change(&r)
	}
	return r
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		name  string
		price Price
		rule  SplitRule
		want  Shares
	}{
		{"worked example", example(), rule(nil), Shares{Provider: 2880, Worker: 680, Coop: 105, Fund: 35}},
		{"no fund", example(), rule(func(r *SplitRule) { r.FundBP = 0 }), Shares{Provider: 2910, Worker: 685, Coop: 105}},
		{"fund out of the co-op's share", example(), rule(func(r *SplitRule) { r.FundFrom = FromCoop }), Shares{Provider: 2910, Worker: 685, Coop: 70, Fund: 35}},
		{"fund larger than the co-op's share", example(), rule(func(r *SplitRule) { r.CommissionBP, r.FundBP, r.FundFrom = 100, 500, FromCoop }), Shares{Provider: 2970, Worker: 695, Fund: 35}},
		{"courier protected", example(), rule(func(r *SplitRule) { r.CommissionFrom, r.FundFrom = FromProvider, FromProvider }), Shares{Provider: 2860, Worker: 700, Coop: 105, Fund: 35}},
		{"on the items only", example(), rule(func(r *SplitRule) { r.CommissionBase, r.FundBP = BaseGoods, 0 }), Shares{Provider: 2910, Worker: 700, Coop: 90}},
		{"on the delivery only", example(), rule(func(r *SplitRule) { r.CommissionBase, r.FundBP = BaseDelivery, 0 }), Shares{Provider: 3000, Worker: 685, Coop: 15}},
		{"odd cents", Price{Goods: 1001, Delivery: 333, Tip: 1}, rule(nil), Shares{Provider: 961, Worker: 321, Coop: 40, Fund: 13}},
		{"half a cent rounds up", Price{Goods: 50}, rule(func(r *SplitRule) { r.FundBP = 0 }), Shares{Provider: 48, Coop: 2}},
		{"one cent", Price{Goods: 1}, rule(nil), Shares{Provider: 1}},
		{"tip only", Price{Tip: 500}, rule(nil), Shares{Worker: 500}},
		{"nothing", Price{}, rule(nil), Shares{}},
		{"all of it", example(), rule(func(r *SplitRule) { r.CommissionBP, r.FundBP = 10_000, 10_000 }), Shares{Worker: 200, Coop: 3500}},
		{"free items, protected courier", Price{Delivery: 500}, rule(func(r *SplitRule) { r.CommissionFrom, r.FundBP = FromProvider, 0 }), Shares{Worker: 485, Coop: 15}},
	} {
		if got := Split(c.price, c.rule); got != c.want {
			t.Errorf("%s: %+v and not %+v", c.name, got, c.want)
		}
	}
}

func drawRule(t *rapid.T) SplitRule {
	bases := rapid.SampledFrom([]Part{BaseGoods, BaseDelivery, BaseBoth})
	return SplitRule{
		CommissionBP: rapid.Int64Range(0, 10_000).Draw(t, "commission"), CommissionBase: bases.Draw(t, "of"),
		CommissionFrom: rapid.SampledFrom([]Part{FromPayees, FromProvider}).Draw(t, "from"),
		FundBP:         rapid.Int64Range(0, 10_000).Draw(t, "fund"), FundBase: bases.Draw(t, "fund of"),
		FundFrom: rapid.SampledFrom([]Part{FromPayees, FromProvider, FromCoop}).Draw(t, "fund from"),
	}
}

func TestSplitKeepsEveryCent(t *testing.T) {
	money := rapid.Int64Range(0, MaxMoney)
	rapid.Check(t, func(t *rapid.T) {
		p := Price{Goods: money.Draw(t, "goods"), Delivery: money.Draw(t, "delivery"), Tip: money.Draw(t, "tip")}
		r := drawRule(t)
		s := Split(p, r)
		if s.Total() != p.Total() {
			t.Fatalf("%+v by %+v is %+v: %d and not %d", p, r, s, s.Total(), p.Total())
		}
		if min(s.Provider, s.Worker, s.Coop, s.Fund) < 0 {
			t.Fatalf("%+v by %+v is %+v: somebody's share is negative", p, r, s)
		}
		if s.Worker < p.Tip {
			t.Fatalf("%+v by %+v is %+v: the tip isn't the courier's", p, r, s)
		}
		if r.CommissionFrom == FromProvider && r.FundFrom != FromPayees && s.Coop+s.Fund <= p.Goods && s.Worker != p.Delivery+p.Tip {
			t.Fatalf("%+v by %+v is %+v: the courier isn't protected", p, r, s)
		}
	})
}

func TestAllocateKeepsTheSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(0, 1<<50).Draw(t, "total")
		weights := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 20).Draw(t, "weights")
		var sum, all int64
		for _, w := range weights {
			all += w
		}
		for i, part := range Allocate(total, weights) {
			sum += part
			if part < 0 {
				t.Fatalf("part %d is %d", i, part)
			}
			if all > 0 {
				exact := float64(total) * float64(weights[i]) / float64(all)
				if d := float64(part) - exact; d > 1.001+exact*1e-12 || d < -1.001-exact*1e-12 {
					t.Fatalf("part %d is %d and not about %f", i, part, exact)
				}
			}
		}
		if sum != total {
			t.Fatalf("the parts of %d add up to %d", total, sum)
		}
	})
}

func TestMoneyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, MaxMoney).Draw(t, "amount")
		unit := rapid.SampledFrom([]string{"EUR", "JPY", "TND"}).Draw(t, "unit")
		if back, ok := ParseMoney(Decimal(n, unit), unit); !ok || back != n {
			t.Fatalf("%d %s is written %q and read %d", n, unit, Decimal(n, unit), back)
		}
	})
	for text, want := range map[string]int64{"4": 400, "4,5": 450, " 4.05 ": 405, "0": 0} {
		if got, ok := ParseMoney(text, "EUR"); !ok || got != want {
			t.Errorf("%q is read as %d", text, got)
		}
	}
	for _, text := range []string{"", ".", "4.", ".5", "-1", "+1", "1e3", "1.234", "1,000.00", "٣", "10000000.01", "99999999999999999999"} {
		if n, ok := ParseMoney(text, "EUR"); ok {
			t.Errorf("%q is read as %d", text, n)
		}
	}
	if Decimal(-5, "EUR") != "-0.05" || Decimal(-1<<63, "JPY") != "-9223372036854775808" {
		t.Error("negative amounts are written wrongly")
	}
}

func BenchmarkSplit(b *testing.B) {
	p, r := example(), rule(nil)
	for b.Loop() {
		if s := Split(p, r); s.Coop != 105 {
			b.Fatal(s)
		}
	}
}
