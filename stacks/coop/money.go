// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// MaxMoney is the largest amount, in minor units, that a price, fee or tip may
// have. It keeps every product in a split within 64 bits of headroom.
const MaxMoney = 1_000_000_000

// Exponent returns how many decimal places the currency's minor unit has
// (ISO 4217): 2 for EUR, 0 for JPY, 3 for TND.
func Exponent(unit string) int {
	switch unit {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	}
	return 2
}

// ValidUnit reports whether unit looks like an ISO 4217 code: three capital letters.
func ValidUnit(unit string) bool {
	return len(unit) == 3 && strings.IndexFunc(unit, func(r rune) bool { return r < 'A' || r > 'Z' }) < 0
}

// ParseMoney reads an amount as people write it ("4", "4.50" or "4,50") into
// minor units. It refuses signs, grouping, more decimals than the unit has, and
// amounts over MaxMoney.
func ParseMoney(text, unit string) (int64, bool) {
	return parseDecimal(text, Exponent(unit), MaxMoney)
}

// ParsePercent reads a percentage ("3" or "2.75") into basis points.
func ParsePercent(text string) (int64, bool) { return parseDecimal(text, 2, 10_000) }

func parseDecimal(text string, places int, most int64) (int64, bool) {
	text = strings.ReplaceAll(strings.TrimSpace(text), ",", ".")
	whole, part, dotted := strings.Cut(text, ".")
	if len(part) > places || (dotted && part == "") || whole == "" {
		return 0, false
	}
	digits := whole + part + strings.Repeat("0", places-len(part))
	if strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && n <= most
}

// Decimal writes minor units with a dot and the unit's decimals: 3705 EUR is
// "37.05". It's the form that ParseMoney reads back; pages add the symbol.
func Decimal(amount int64, unit string) string { return decimal(amount, Exponent(unit)) }

func decimal(amount int64, places int) string {
	sign, size := "", uint64(amount)
	if amount < 0 {
		sign, size = "-", -uint64(amount)
	}
	digits := strconv.FormatUint(size, 10)
	if places == 0 {
		return sign + digits
	}
	if short := places + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	cut := len(digits) - places
	return sign + digits[:cut] + "." + digits[cut:]
}

// Percent returns bp basis points of amount, rounded half up to a whole minor
// unit. Both must be non-negative.
func Percent(amount, bp int64) int64 {
	hi, lo := bits.Mul64(uint64(amount), uint64(bp))
	lo, carry := bits.Add64(lo, 5_000, 0)
	q, _ := bits.Div64(hi+carry, lo, 10_000)
	return int64(q)
}

// Allocate splits total over weights by largest remainder: each part is its
// exact share rounded down or up, and the parts add up to total. Ties go to the
// earlier part. With no weight at all, everything goes to the first part.
// Total and weights must be non-negative and the weights' sum must fit int64.
func Allocate(total int64, weights []int64) []int64 {
	parts := make([]int64, len(weights))
	var sum uint64
	for _, w := range weights {
		sum += uint64(w)
	}
	if sum == 0 || sum > math.MaxInt64 {
		if len(parts) > 0 {
			parts[0] = total
		}
		return parts
	}
	rest := make([]uint64, len(weights))
	left := total
	for i, w := range weights {
		hi, lo := bits.Mul64(uint64(total), uint64(w))
		q, r := bits.Div64(hi, lo, sum)
		parts[i], rest[i] = int64(q), r
		left -= int64(q)
	}
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case rest[a] > rest[b]:
			return -1
		case rest[a] < rest[b]:
			return 1
		}
		return 0
	})
	for _, i := range order[:left] {
		parts[i]++
	}
	return parts
}
