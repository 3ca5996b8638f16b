// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"errors"
	"reflect"
	"testing"

	"rochdale/appliance/step"
)

// TestJobEndInWords: what the journal keeps of an error is told as what it was.
func TestJobEndInWords(t *testing.T) {
	inner := Problem("update.fact", errors.New("exit: code 1"), "stack", "delivery", "fact", "orders \"new\": all", "want", 12, "got", 11)
	outer := Problem("update.put-back", inner, "stack", "delivery", "version", "1.5.0", "kept", "1.4.0")
	for name, test := range map[string]struct {
		err  error
		want []Message
	}{
		"one":         {&step.Error{Plan: "stack-restore", Step: "fetch", Err: Problem("update.interrupted", nil, "stack", "delivery")}, []Message{{ID: "update.interrupted", Args: Args("stack", "delivery")}}},
		"with cause":  {&step.Error{Plan: "stack-update", Step: "facts", Err: outer}, []Message{outer.Message, inner.Message}},
		"no argument": {&step.Error{Plan: "p", Step: "s", Err: Problem("backup.replaced", errors.New("x"))}, []Message{{ID: "backup.replaced"}}},
		"two":         {errors.Join(Problem("a.b", nil, "k", "v"), Problem("c.d", nil)), []Message{{ID: "a.b", Args: Args("k", "v")}, {ID: "c.d"}}},
		"none":        {&step.Error{Plan: "p", Step: "s", Err: errors.New("open /a.b/c: no such file")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := JobEnd([]step.Event{{Job: "j", Kind: step.Ended, Error: test.err.Error()}})
			var e *Error
			if !errors.As(err, &e) || e.ID != "daemon.job-failed" {
				t.Fatal(err)
			}
			var got []Message
			for _, p := range e.Places {
				got = append(got, p.Message)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if err := JobEnd([]step.Event{{Job: "j", Kind: step.Ended}}); err != nil {
		t.Error(err)
	}
}
