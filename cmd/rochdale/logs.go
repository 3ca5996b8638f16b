// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/host"
)

// logOptions are the flags of `rochdale logs`.
type logOptions struct {
	follow  bool
	lines   int
	since   string
	service string
}

// left tells whether somebody who followed a log has left it: with Ctrl-C, since
// there is no other way.
func (o logOptions) left(ctx context.Context) bool { return o.follow && ctx.Err() != nil }

func newLogsCommand(a *app) *cobra.Command {
	var o logOptions
	c := a.verb("logs [NAME]", "help.logs", func(c *cobra.Command, args []string) error {
		name := ""
		if len(args) == 1 {
			name = args[0]
		}
		if err := a.logs(c.Context(), name, o); err != nil && !o.left(c.Context()) {
			return err
		}
		return nil
	})
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, a.t("flag.logs.follow"))
	f.IntVarP(&o.lines, "lines", "n", 100, a.t("flag.logs.lines"))
	f.StringVar(&o.since, "since", "", a.t("flag.logs.since"))
	f.StringVar(&o.service, "service", "", a.t("flag.logs.service"))
	return c
}

// logs shows the journal of our own parts, or what a stack's containers print.
func (a *app) logs(ctx context.Context, name string, o logOptions) error {
	since, err := sinceTime(o.since, time.Now())
	if err != nil {
		return err
	}
	if o.lines < 0 {
		return usage("cli.logs.lines", "lines", o.lines)
	}
	own := name == "" || name == "daemon" || name == "edge"
	if own && o.service != "" {
		return usage("cli.logs.service", "service", o.service)
	}
	if err := a.there(); appliance.IsProblem(err, "cli.needs-root") {
		return err
	}
	switch name {
	case "":
		return a.journal(ctx, o, since, "rochdale.service", "rochdale-edge.service")
	case "daemon":
		return a.journal(ctx, o, since, "rochdale.service")
	case "edge":
		return a.journal(ctx, o, since, "rochdale-edge.service")
	}
	r := appliance.LogsRequest{Stack: name, Service: o.service}
	r.Options = appliance.LogOptions{Follow: o.follow, Tail: o.lines, Since: since, Timestamps: true}
	out := io.Writer(&calmWriter{to: a.streams.Out})
	if a.printer.JSON() {
		lines := newJSONLines(a.printer, name)
		defer lines.Close()
		out = lines
	}
	return api.NewClient(a.paths.DaemonSocket()).Logs(ctx, r, out)
}

// calmWriter passes on what containers print without what a terminal would obey.
type calmWriter struct {
	to   io.Writer
	lead bool // the last byte begins U+0080 to U+00BF
}

// Write implements io.Writer.
func (w *calmWriter) Write(p []byte) (int, error) {
	calm := make([]byte, 0, len(p)+1)
	for _, c := range p {
		lead := w.lead
		w.lead = c == 0xc2
		switch {
		case w.lead || c < ' ' && c != '\n' && c != '\t' || c == 0x7f:
		case lead && c >= 0x80 && c < 0xa0: // one of the second set
		case lead:
			calm = append(calm, 0xc2, c)
		default:
			calm = append(calm, c)
		}
	}
	_, err := w.to.Write(calm)
	return len(p), err
}

// journal lets journalctl print. With --json its own JSON lines are passed on.
func (a *app) journal(ctx context.Context, o logOptions, since time.Time, units ...string) error {
	args := []string{"--no-pager", "--quiet", "--lines=" + journalLines(o, since)}
	for _, u := range units {
		args = append(args, "--unit="+u)
	}
	if !since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(since.Unix(), 10))
	}
	if o.follow {
		args = append(args, "--follow")
	}
	if a.printer.JSON() {
		args = append(args, "--output=json")
	} else {
		args = append(args, "--output=short-iso")
	}
	var last *lastLines
	out := a.streams.Out
	if !since.IsZero() && !o.follow && o.lines > 0 {
		last = &lastLines{keep: o.lines}
		out = last
	}
	_, err := host.Exec{}.Run(ctx, host.Command{Name: "journalctl", Args: args, Stdout: out})
	if last != nil {
		_, printErr := a.streams.Out.Write(last.bytes())
		err = errors.Join(err, printErr)
	}
	return err
}

// journalLines is what journalctl is told of how many lines are wanted. With a time to
// begin at it counts from there, and we want the last ones: then it gives all. So it does
// when all are asked for; of 0 lines it prints none.
func journalLines(o logOptions, since time.Time) string {
	if !since.IsZero() || o.lines == 0 {
		return "all"
	}
	return strconv.Itoa(o.lines)
}

// lastLines keeps the last lines of what is written to it.
type lastLines struct {
	keep  int
	lines [][]byte // each with its end, but maybe the last one
}

// Write implements [io.Writer].
func (l *lastLines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if n := len(l.lines); n > 0 && !bytes.HasSuffix(l.lines[n-1], []byte("\n")) {
			l.lines[n-1] = append(l.lines[n-1], line...)
			continue
		}
		l.lines = append(l.lines, bytes.Clone(line))
		if len(l.lines) > 2*l.keep {
			l.lines = slices.Clone(l.lines[len(l.lines)-l.keep:])
		}
	}
	return len(p), nil
}

func (l *lastLines) bytes() []byte { return bytes.Join(l.lines[max(0, len(l.lines)-l.keep):], nil) }

// sinceTime reads "90m" as that long before now, and a date or a time as what it
// says, in the zone of this machine.
func sinceTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("cli.logs.since", "since", s)
}

// jsonLines makes each line that is written to it a JSON line of type "log".
type jsonLines struct {
	*io.PipeWriter
	done chan struct{}
}

func newJSONLines(p *Printer, name string) *jsonLines {
	r, w := io.Pipe()
	j := &jsonLines{PipeWriter: w, done: make(chan struct{})}
	go func() {
		defer close(j.done)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxLogLine)
		for lines.Scan() {
			_ = p.typed("log", logLine{Name: name, Line: string(bytes.ToValidUTF8(lines.Bytes(), []byte("?")))})
		}
		_ = r.CloseWithError(lines.Err())
	}()
	return j
}

// maxLogLine bounds one line of a log, in bytes.
const maxLogLine = 1 << 20

type logLine struct {
	Name string `json:"name"`
	Line string `json:"line"`
}

// Close waits until the last line is out.
func (j *jsonLines) Close() error {
	err := j.PipeWriter.Close()
	<-j.done
	return err
}
