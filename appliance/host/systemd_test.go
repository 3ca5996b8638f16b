// SPDX-License-Identifier: AGPL-3.0-or-later

package host_test

import (
	"context"
	"errors"
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
// becomes of the program. This is what it says on Debian 12 and 13 after "systemctl
// stop dbus".
func TestUnseenEnd(t *testing.T) {
	failed := &host.ExitError{Name: "systemd-run", Code: 7}
	cases := []struct {
		name   string
		answer answer
		want   error
	}{
		{"done", answer{said: "a warning of the program's own\n"}, nil},
		{"failed", answer{err: failed}, failed},
		{"unseen on Debian 12", answer{said: "Warning! D-Bus connection terminated.\n"}, host.ErrUnseen},
		{"unseen on Debian 13", answer{said: "Got disconnected from bus connection. Trying to reconnect...\n"}, host.ErrUnseen},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			_, err := host.Systemd{Runner: test.answer}.RunTransient(t.Context(), host.Transient{Unit: "rochdale-x.service", Name: "/bin/true"})
			if !errors.Is(err, test.want) {
				t.Errorf("%v, not %v", err, test.want)
			}
		})
	}
}
