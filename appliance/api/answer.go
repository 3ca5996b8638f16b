// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// answerLimit bounds a verb that only looks at something.
const answerLimit = 60 * time.Second

// answer makes a verb that has one result.
func answer[In, Out any](do func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in, ok := read[In](w, r)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerLimit)
		defer cancel()
		result, err := do(ctx, in)
		finish(&writer{w: w}, result, err)
	})
}

// stream makes a verb that tells how it goes on before its result.
func stream[In, Out any](do func(context.Context, In, out) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in, ok := read[In](w, r)
		if !ok {
			return
		}
		to := &writer{w: w}
		// Whoever asked waits minutes for the first line otherwise.
		to.start()
		result, err := do(r.Context(), in, out{to})
		finish(to, result, err)
	})
}

// read reads the body strictly.
func read[In any](w http.ResponseWriter, r *http.Request) (in In, ok bool) {
	var probe struct {
		Schema int             `json:"schema"`
		Body   json.RawMessage `json:"body"`
	}
	if err := json.NewDecoder(r.Body).Decode(&probe); err != nil {
		refuse(w, http.StatusBadRequest, appliance.Problem("daemon.request", err, "detail", err).WithCode(appliance.ExitUsage))
		return in, false
	}
	if probe.Schema < 1 || probe.Schema > Schema {
		refuse(w, http.StatusBadRequest, appliance.Problem("daemon.schema", nil, "schema", probe.Schema, "known", Schema).WithCode(appliance.ExitUsage))
		return in, false
	}
	d := json.NewDecoder(bytes.NewReader(probe.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, appliance.Problem("daemon.request", err, "detail", err).WithCode(appliance.ExitUsage))
		return in, false
	}
	return in, true
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(line[none]{Schema: Schema, Done: true, Error: pack(err)}) // the asker left
}

func finish[Out any](w *writer, result Out, err error) {
	last := line[Out]{Schema: Schema, Done: true}
	if err != nil {
		last.Error = pack(err)
	} else {
		last.Result = &result
	}
	w.line(last)
}

// writer sends lines, each at once. Nobody is told that the asker has left: the
// request's context says so.
type writer struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

// lineLimit is how long an asker may take to read one line.
const lineLimit = 30 * time.Second

func (w *writer) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.w.Header().Set("Content-Type", "application/x-ndjson")
	c := http.NewResponseController(w.w)
	_ = c.SetReadDeadline(time.Time{}) // the request was read; its asker may listen for hours
	_ = c.Flush()
}

func (w *writer) line(l any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := http.NewResponseController(w.w)
	_ = c.SetWriteDeadline(time.Now().Add(lineLimit))
	w.w.Header().Set("Content-Type", "application/x-ndjson")
	if json.NewEncoder(w.w).Encode(l) == nil {
		_ = c.Flush()
	}
}

// out is what a streaming verb writes to.
type out struct{ w *writer }

func (o out) event(e step.Event) { o.w.line(line[none]{Schema: Schema, Event: &e}) }

// Write sends text.
func (o out) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxLine/2)
		o.w.line(line[none]{Schema: Schema, Text: rest[:n]})
		rest = rest[n:]
	}
	return len(p), nil
}
