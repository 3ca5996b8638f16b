// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"errors"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// Schema is the version of the protocol. A request of a newer one is refused
// by name; answers only ever gain fields.
const Schema = 1

// Bounds of one exchange, in bytes.
const (
	maxRequest = 64 << 10
	maxAnswer  = 8 << 20
	maxLine    = 1 << 20
)

// envelope is what every request is wrapped in.
type envelope[T any] struct {
	Schema int `json:"schema"`
	Body   T   `json:"body"`
}

// line is one line of an answer. A streaming verb sends events or text first;
// every answer ends with a line that has Done, and its result or its error.
type line[T any] struct {
	Schema int         `json:"schema"`
	Event  *step.Event `json:"event,omitempty"`
	Text   []byte      `json:"text,omitempty"`
	Done   bool        `json:"done,omitempty"`
	Result *T          `json:"result,omitempty"`
	Error  *fault      `json:"error,omitempty"`
}

// none is the result or the body of a verb that has none.
type none struct{}

type stackName struct {
	Stack string `json:"stack"`
}

type linkAnswer struct {
	URL string `json:"url"`
}

type jobsRequest struct {
	Limit int `json:"limit"`
}

type jobName struct {
	Job string `json:"job"`
}

// fault is an error on its way: what a person is told, about which places of a
// document, the exit code, the step that failed, and the technical cause as text.
type fault struct {
	ID     string            `json:"id"`
	Args   map[string]string `json:"args,omitempty"`
	Code   int               `json:"code"`
	Detail string            `json:"detail,omitempty"`
	Places []appliance.Place `json:"places,omitempty"`
	Plan   string            `json:"plan,omitempty"`
	Step   string            `json:"step,omitempty"`
}

// pack makes a fault of any error.
func pack(err error) *fault {
	f := &fault{ID: "daemon.unexpected", Args: appliance.Args("detail", err), Code: appliance.ExitCode(err)}
	var known *appliance.Error
	switch {
	case errors.As(err, &known):
		f.ID, f.Args, f.Places = known.ID, known.Args, known.Places
		if known.Err != nil {
			f.Detail = known.Err.Error()
		}
	case errors.Is(err, context.Canceled):
		f.ID, f.Args, f.Code = "daemon.stopping", nil, appliance.ExitCheckFailed
	}
	var inStep *step.Error
	if errors.As(err, &inStep) {
		f.Plan, f.Step = inStep.Plan, inStep.Step
	}
	return f
}

// unpack makes the error again on the other side.
func (f *fault) unpack() error {
	e := &appliance.Error{Message: appliance.Message{ID: f.ID, Args: f.Args}, Code: f.Code, Places: f.Places}
	if f.Detail != "" {
		e.Err = errors.New(f.Detail)
	}
	if f.Step == "" {
		return e
	}
	return &step.Error{Plan: f.Plan, Step: f.Step, Err: e}
}
