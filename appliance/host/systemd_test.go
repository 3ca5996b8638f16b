// SPDX-License-Identifier: AGPL-3.0-or-later

package host_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"

	"rochdale/appliance/host"
)

type answer struct {
	said string
	err  error
}

func (a answer) Run(context.Context, host.Command) (host.Result, error) {
	return host.Result{Stderr: []byte(a.said)}, a.err
}

// TestUnseenEnd: systemd-run ends with code 0 when the system's bus goes, whatever
// becomes of the program, and with others when it is told to end itself. This is what
// it says on Debian 12 and 13, word for word, after "systemctl stop dbus" and while a
// machine shuts down.
func TestUnseenEnd(t *testing.T) {
	const (
		began   = "Running as unit: rochdale-x.service\n"
		began13 = "Running as unit: rochdale-x.service; invocation ID: 0c2a9a0f8e3b4a7d9f1f6f5f1f0b2c11\n"
		lost    = "Finished with result: success\n"
		well    = lost + "Main processes terminated with: code=exited/status=0\nService runtime: 9ms\n"
		well13  = lost + "Main processes terminated with: code=exited, status=0/SUCCESS\nService runtime: 9ms\nCPU time consumed: 2ms\nMemory peak: 512.0K\n"
		badly   = "Finished with result: exit-code\nMain processes terminated with: code=exited/status=7\n"
		ended   = lost + "Main processes terminated with: code=killed/status=TERM\n"
		taken   = "Failed to start transient service unit: Unit rochdale-x.service was already loaded or has a fragment file."
		away13  = "Got disconnected from bus connection. Trying to reconnect...\nFailed to request PropertiesChanged signal match: Transport endpoint is not connected\n"
	)
	for _, test := range []struct {
		name string
		said string
		code int
		want error  // nil: it did well, or, with code, it failed by itself
		own  string // what the program said, also in the error
		as   int    // the code of the error, if it is another
	}{
		{name: "done", said: began + "a warning\n" + well, own: "a warning"},
		{name: "done on Debian 13", said: began13 + well13},
		{name: "done, with words before those of systemd-run", said: "a " + began + "warning" + well, own: "a warning"},
		{name: "failed", said: began + "no such ship" + badly, code: 7, own: "no such ship"},
		{name: "told to end", said: began + ended, as: 255},
		{name: "not begun", said: taken + "\n", code: 1, want: host.ErrNotBegun, own: taken},
		{name: "out of memory", said: began + "Finished with result: oom-kill\nMain processes terminated with: code=killed/status=KILL\n", code: 1, as: 255},
		{name: "asked without an answer", said: "Failed to start transient service unit: Connection timed out\n", code: 1, want: host.ErrUnseen},
		{name: "failed at once", said: "Job for rochdale-x.service failed because the control process exited with error code.\n", code: 1, want: host.ErrUnseen},
		{name: "begun, and in the words of systemd", said: began + taken + badly, code: 7, own: taken},
		{name: "no bus on Debian 12", said: began + "Warning! D-Bus connection terminated.\n" + lost, want: host.ErrUnseen},
		{name: "no bus on Debian 12, with a pipe", said: began + lost, want: host.ErrUnseen},
		{name: "no bus on Debian 13", said: began13 + away13 + lost, want: host.ErrUnseen},
		{name: "no bus at the start", said: "Warning! D-Bus connection terminated.\n", code: 1, want: host.ErrUnseen},
		{name: "asked in a shutdown", said: began + "Failed to query unit state: Connection reset by peer\n" + lost, want: host.ErrUnseen},
		{name: "silent", want: host.ErrUnseen},
		{name: "systemd-run is told to end", said: began, code: -1, want: host.ErrUnseen},
		{name: "systemd-run is told to end at the start", code: -1, want: host.ErrUnseen},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := answer{said: test.said}
			if test.code != 0 {
				a.err = &host.ExitError{Name: "systemd-run", Code: test.code, Stderr: strings.TrimSpace(test.said)}
			}
			r, err := host.Systemd{Runner: a}.RunTransient(t.Context(), host.Transient{Unit: "rochdale-x.service", Name: "/bin/true"})
			if want := cmp.Or(test.as, test.code); want != 0 && !errors.Is(test.want, host.ErrUnseen) {
				var exit *host.ExitError
				if !errors.As(err, &exit) || exit.Code != want || test.own != "" && exit.Stderr != test.own {
					t.Errorf("%v, not code %d and %q", err, want, test.own)
				}
			} else if test.want == nil && err != nil {
				t.Error(err)
			}
			for _, not := range []error{host.ErrUnseen, host.ErrNotBegun} {
				if errors.Is(err, not) != errors.Is(test.want, not) {
					t.Errorf("%v, not %v", err, test.want)
				}
			}
			if own := strings.TrimSpace(string(r.Stderr)); test.own != "" && own != test.own {
				t.Errorf("the program said %q, not %q", own, test.own)
			}
		})
	}
}

// TestUnseenAndStopped: a caller that is stopped in that moment is not told of success.
func TestUnseenAndStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := host.Systemd{Runner: answer{}}.RunTransient(ctx, host.Transient{Unit: "rochdale-x.service", Name: "/bin/true"})
	if !errors.Is(err, host.ErrUnseen) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
