// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"time"

	"rochdale/appliance/step"
)

// planView is a plan as JSON carries it.
type planView struct {
	Schema   int        `json:"schema"`
	Plan     string     `json:"plan"`
	Key      string     `json:"key,omitempty"`
	Estimate float64    `json:"estimate_seconds"`
	Download int64      `json:"download_bytes"`
	Steps    []stepView `json:"steps"`
}

type stepView struct {
	ID       string        `json:"id"`
	Title    string        `json:"title"`
	Estimate float64       `json:"estimate_seconds,omitempty"`
	Effects  []step.Effect `json:"effects"`
}

func (p *Printer) planView(plan step.Plan) planView {
	v := planView{Schema: 1, Plan: plan.Name, Key: plan.Key, Steps: []stepView{}}
	for _, s := range plan.Steps {
		one := stepView{ID: s.ID, Title: p.app.stepTitle(plan.Name, s.ID), Estimate: s.Estimate.Seconds(), Effects: []step.Effect{}}
		one.Effects = append(one.Effects, s.Effects...)
		v.Steps = append(v.Steps, one)
		v.Estimate += one.Estimate
		v.Download += download(s.Effects)
	}
	return v
}

func download(effects []step.Effect) (total int64) {
	for _, e := range effects {
		if e.Kind == "downloads" {
			total += e.Bytes
		}
	}
	return total
}

// Plan shows what a plan would do, before anything runs: to Out, or as a JSON
// line of type "plan".
func (p *Printer) Plan(plan step.Plan) error {
	v := p.planView(plan)
	if p.json {
		return p.typed("plan", v)
	}
	total := time.Duration(v.Estimate * float64(time.Second))
	fmt.Fprintln(p.out, p.app.t("cli.plan.title", "steps", len(v.Steps), "time", duration(total)))
	for i, s := range v.Steps {
		fmt.Fprintf(p.out, "%3d. %s\n", i+1, s.Title)
		for _, e := range s.Effects {
			fmt.Fprintf(p.out, "       %s %s%s\n", p.app.t("cli.effect."+e.Kind), e.What, inBrackets(e.Bytes))
		}
	}
	if v.Download > 0 {
		fmt.Fprintln(p.out, p.app.t("cli.plan.download", "size", bytesText(v.Download)))
	}
	if p.app.flags.Plan {
		p.Say("cli.plan.stopped")
	}
	return nil
}

func inBrackets(n int64) string {
	if n == 0 {
		return ""
	}
	return " (" + bytesText(n) + ")"
}

// bytesText is a size for people, in units of 1000: "42 MB".
func bytesText(n int64) string {
	const kilo = 1000
	switch {
	case n < kilo:
		return fmt.Sprintf("%d bytes", n)
	case n < kilo*kilo:
		return fmt.Sprintf("%d kB", (n+kilo/2)/kilo)
	case n < kilo*kilo*kilo:
		return fmt.Sprintf("%d MB", (n+kilo*kilo/2)/(kilo*kilo))
	default:
		return fmt.Sprintf("%.1f GB", float64(n)/(kilo*kilo*kilo))
	}
}
