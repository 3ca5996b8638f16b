// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// fakeExec is a program in the fake engine; its first word says what it does.
type fakeExec struct {
	Cmd, Env    []string
	AttachStdin bool
	running     int // how often it still seems to run when it is asked for
	code        int
	lost        bool // the engine forgot it
}

func (f *fake) makeExec(w http.ResponseWriter, r *http.Request) {
	var x fakeExec
	_ = json.NewDecoder(r.Body).Decode(&x)
	id := strconv.Itoa(len(f.execs))
	f.execs[id] = &x
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]string{"Id": id})
}

func (f *fake) exec(w http.ResponseWriter, r *http.Request, p []string) {
	f.mu.Lock()
	x := f.execs[p[0]]
	f.mu.Unlock()
	if p[1] == "start" {
		_, _ = io.Copy(io.Discard, r.Body)
		f.startExec(w, x)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if x.lost {
		refuse(w, http.StatusNotFound, "No such exec instance: "+p[0])
		return
	}
	answer(w, map[string]any{"ID": p[0], "Running": x.running > 0, "ExitCode": x.code})
	x.running--
}

func (f *fake) startExec(w http.ResponseWriter, x *fakeExec) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	f.set(func() { x.run(conn, buffered.Reader) })
}

func (x *fakeExec) run(out io.Writer, in *bufio.Reader) {
	switch x.Cmd[0] {
	case "upper":
		data, _ := io.ReadAll(in)
		frame(out, strings.ToUpper(string(data)))
		x.running = 2 // the engine notices later
	case "environment":
		frame(out, strings.Join(x.Env, " "))
	case "leave": // with input unread
		_, _ = in.ReadByte()
		x.code = 3
		errFrame(out, strings.Repeat("many words before ", 100)+"the last ones")
	case "cut":
		frame(out, "half of it")
		x.running = 1 << 30
	case "lost":
		frame(out, "half of it")
		x.lost = true
	case "much":
		for range 100 {
			frame(out, strings.Repeat("x", 10_000))
		}
	}
}

// errFrame writes what a program says on its standard error.
func errFrame(w io.Writer, line string) {
	var b strings.Builder
	frame(&b, line)
	framed := []byte(b.String())
	framed[0] = 2
	_, _ = w.Write(slices.Clip(framed))
}
