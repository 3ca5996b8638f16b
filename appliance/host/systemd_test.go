// SPDX-License-Identifier: AGPL-3.0-or-later

package host_test

import (
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
// it says on Debian 12 and 13 after "systemctl stop dbus", and while a machine shuts
// down.
func TestUnseenEnd(t *testing.T) {
	const began = "Running as unit: rochdale-x.service\n"
	const well = "Finished with result: success\nMain processes terminated with: code=exited/status=0\nService runtime: 9ms\n"
	const badly = "Finished with result: exit-code\nMain processes terminated with: code=exited/status=7\n"
	cases := []struct {
		name string
		said string
		code int
		want error  // or, for a code,
		told string // what the error says of the program
		own  string
	}{
		{name: "done", said: began + "a warning\n" + well, own: "a warning\n"},
		{name: "done, with words before those of systemd-run", said: "a " + began + "warning" + well, own: "a warning"},
		{name: "failed", said: began + "no such ship" + badly, code: 7, told: "no such ship", own: "no such ship"},
		{name: "not begun", said: "Failed to start transient service unit: Unit rochdale-x.service was already loaded or has a fragment file.\n", code: 1,
			told: "Failed to start transient service unit: Unit rochdale-x.service was already loaded or has a fragment file."},
		{name: "no bus on Debian 12", said: began + "Warning! D-Bus connection terminated.\nFinished with result: success\n", want: host.ErrUnseen},
		{name: "no bus on Debian 13", said: began + "Got disconnected from bus connection. Trying to reconnect...\n", want: host.ErrUnseen},
		{name: "asked in a shutdown", said: began + "Failed to query unit state: Connection reset by peer\n", want: host.ErrUnseen},
		{name: "silent", want: host.ErrUnseen},
		{name: "told to end", said: began, code: -1, want: host.ErrUnseen},
		{name: "lost sight of", said: began, code: 1, want: host.ErrUnseen},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			a := answer{said: test.said}
			if test.code != 0 {
				a.err = &host.ExitError{Name: "systemd-run", Code: test.code, Stderr: strings.TrimSpace(test.said)}
			}
			r, err := host.Systemd{Runner: a}.RunTransient(t.Context(), host.Transient{Unit: "rochdale-x.service", Name: "/bin/true"})
			if test.told != "" {
				var exit *host.ExitError
				if !errors.As(err, &exit) || exit.Code != test.code || exit.Stderr != test.told || errors.Is(err, host.ErrUnseen) {
					t.Errorf("%v, not code %d and %q", err, test.code, test.told)
				}
			} else if !errors.Is(err, test.want) {
				t.Errorf("%v, not %v", err, test.want)
			}
			if test.own != "" && string(r.Stderr) != test.own {
				t.Errorf("the program said %q, not %q", r.Stderr, test.own)
			}
		})
	}
}
