// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SettingType says how a setting is written and checked.
type SettingType string

// The types of setting.
const (
	TypePercent SettingType = "percent" // stored in basis points, written as "3" or "2.75"
	TypeMoney   SettingType = "money"   // stored in minor units
	TypeSeconds SettingType = "seconds"
	TypeChoice  SettingType = "choice"
)

// Setting declares one thing that a co-op can decide.
type Setting struct {
	Key     string
	Type    SettingType
	Default string
	Min     int64 // of the stored number
	Max     int64
	Choices []string // for TypeChoice
	Owner   string   // who may change it: "operator" (an admin), later a vote
}

// The keys of the settings.
const (
	KeyCommission     = "fees.commission.percent"
	KeyCommissionBase = "fees.commission.base"
	KeyCommissionFrom = "fees.commission.from"
	KeyFund           = "funds.hardship.percent"
	KeyFundBase       = "funds.hardship.base"
	KeyFundFrom       = "funds.hardship.from"
	KeyDeliveryFee    = "pricing.delivery.fee"
	KeyOfferSeconds   = "dispatch.offer.seconds"
)

// Schema lists every setting in the order in which pages show them.
func Schema() []Setting {
	bases := []string{string(BaseBoth), string(BaseGoods), string(BaseDelivery)}
	return []Setting{
		{Key: KeyCommission, Type: TypePercent, Default: "300", Max: 2_500, Owner: "operator"},
		{Key: KeyCommissionBase, Type: TypeChoice, Default: string(BaseBoth), Choices: bases, Owner: "operator"},
		{Key: KeyCommissionFrom, Type: TypeChoice, Default: string(FromPayees), Choices: []string{string(FromPayees), string(FromProvider)}, Owner: "operator"},
		{Key: KeyFund, Type: TypePercent, Default: "0", Max: 1_000, Owner: "operator"},
		{Key: KeyFundBase, Type: TypeChoice, Default: string(BaseBoth), Choices: bases, Owner: "operator"},
		{Key: KeyFundFrom, Type: TypeChoice, Default: string(FromCoop), Choices: []string{string(FromCoop), string(FromPayees), string(FromProvider)}, Owner: "operator"},
		{Key: KeyDeliveryFee, Type: TypeMoney, Default: "500", Max: MaxMoney / 1_000, Owner: "operator"},
		{Key: KeyOfferSeconds, Type: TypeSeconds, Default: "60", Min: 10, Max: 600, Owner: "operator"},
	}
}

// SettingsVersion is one complete, numbered set of settings. A job keeps the
// version it was quoted under.
type SettingsVersion struct {
	Version int64
	ActorID string
	Reason  string
	At      time.Time
	Values  map[string]string
}

// Policy is a settings version in the types that the rules work with.
type Policy struct {
	Version     int64
	Split       SplitRule
	DeliveryFee int64 // minor units
	OfferFor    time.Duration
}

// Parse reads what a person wrote for the setting into its stored form.
func (s Setting) Parse(text, unit string) (string, bool) {
	text = strings.TrimSpace(text)
	if s.Type == TypeChoice {
		return text, slices.Contains(s.Choices, text)
	}
	var n int64
	var ok bool
	switch s.Type {
	case TypePercent:
		n, ok = ParsePercent(text)
	case TypeMoney:
		n, ok = ParseMoney(text, unit)
	default:
		n, ok = parseDecimal(text, 0, s.Max)
	}
	return strconv.FormatInt(n, 10), ok && n >= s.Min && n <= s.Max
}

// Show writes a stored value as a person writes it.
func (s Setting) Show(stored, unit string) string {
	n, err := strconv.ParseInt(stored, 10, 64)
	switch {
	case err != nil:
		return stored
	case s.Type == TypePercent:
		return strings.TrimSuffix(strings.TrimRight(decimal(n, 2), "0"), ".")
	case s.Type == TypeMoney:
		return Decimal(n, unit)
	}
	return stored
}

// complete fills what a version doesn't have with the defaults.
func complete(values map[string]string) map[string]string {
	all := make(map[string]string, len(values))
	for _, s := range Schema() {
		all[s.Key] = s.Default
		if v, ok := values[s.Key]; ok {
			all[s.Key] = v
		}
	}
	return all
}

func policyOf(version int64, values map[string]string) Policy {
	v := complete(values)
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(v[key], 10, 64)
		return n
	}
	return Policy{
		Version: version,
		Split: SplitRule{
			CommissionBP: number(KeyCommission), CommissionBase: Part(v[KeyCommissionBase]), CommissionFrom: Part(v[KeyCommissionFrom]),
			FundBP: number(KeyFund), FundBase: Part(v[KeyFundBase]), FundFrom: Part(v[KeyFundFrom]),
		},
		DeliveryFee: number(KeyDeliveryFee),
		OfferFor:    time.Duration(number(KeyOfferSeconds)) * time.Second,
	}
}

func policy(ctx context.Context, tx Tx) (Policy, error) {
	version, values, err := tx.Settings(ctx)
	return policyOf(version, values), err
}

// Settings returns the settings in force and the newest versions of them.
func (a *App) Settings(ctx context.Context, who Member) (values map[string]string, history []SettingsVersion, err error) {
	if err := need(who, RoleAdmin, RoleTreasurer); err != nil {
		return nil, nil, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		if _, values, err = tx.Settings(ctx); err != nil {
			return err
		}
		values = complete(values)
		history, err = tx.SettingsVersions(ctx, 20)
		return err
	})
	return values, history, err
}

// ChangeSettings makes a new version from what an admin wrote in a form. Orders
// that were quoted before keep the version they were quoted under.
func (a *App) ChangeSettings(ctx context.Context, who Member, written map[string]string, reason string) error {
	if err := need(who, RoleAdmin); err != nil {
		return err
	}
	reason, err := text(reason, "reason", 3, 300)
	if err != nil {
		return err
	}
	values := map[string]string{}
	for _, s := range Schema() {
		v, ok := s.Parse(written[s.Key], a.cfg.Currency)
		if !ok {
			return invalid("setting", s.Key)
		}
		values[s.Key] = v
	}
	return a.store.Write(ctx, func(tx Tx) error {
		version, _, err := tx.Settings(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		err = tx.AddSettings(ctx, SettingsVersion{Version: version + 1, ActorID: who.ID, Reason: reason, At: now, Values: values})
		if err != nil {
			return err
		}
		data := facts{"version": strconv.FormatInt(version+1, 10), "reason": reason}
		for k, v := range values {
			data[k] = v
		}
		return record(ctx, tx, note{"settings", "settings.change", who.ID, now}, data)
	})
}
