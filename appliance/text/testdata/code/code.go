// SPDX-License-Identifier: AGPL-3.0-or-later

// Package code gives messages in every way that the walk has to see.
package code

func direct() error { return appliance.Problem("a.direct", nil) }

func finding() any { return appliance.Finding{Message: appliance.Message{ID: "a.finding"}} }

func literal() any { return stacks.Problem{File: "stack.yaml", ID: "a.literal"} }

func label(a *app) string { return a.t("a.label") }

func (a *app) tell(n int, id string) { a.printer.Say(id, "n", n) }

func method(a *app) { a.tell(1, "a.method") }

func wrap(key, id string) error { return appliance.Problem(id, nil, "key", key) }

func again(id string) error { return wrap("k", id) }

func wrapped() []error { return []error{wrap("not.this", "a.wrapped"), again("a.wrapped-twice")} }

func state(a *app, s string) string { return a.t("a.state." + s) }

func plan() any {
	return step.Plan{Name: "moving", Steps: []step.Step{{ID: "unpack", Do: nothing}}}
}

func detailed(e appliance.Message) error { return appliance.Problem("a.direct", nil, "detail", e.ID) }
