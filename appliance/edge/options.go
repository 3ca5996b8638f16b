// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"rochdale/appliance"

	"golang.org/x/sys/unix"
)

// SettingsSchema is the version of settings.json that this binary knows.
const SettingsSchema = 1

// Options is what [Run] needs.
type Options struct {
	Listeners Listeners
	// Dir holds routes.json, issuance.json and caddy/ (certificates); it is ours alone.
	Dir      string
	Settings appliance.EdgeSettings
	// ControlSocket is the path of the unix socket that the daemon speaks to.
	ControlSocket string
	// Words renders a page's words in a language (en, es, fr).
	Words func(lang string, m appliance.Message) Words
	Log   *slog.Logger
	// ChallengePort is where the authority's HTTP validation arrives; 0 is 80.
	ChallengePort int
	// TLSChallengePort is where its TLS validation arrives; 0 is 443.
	TLSChallengePort int
	// Started is called once, when requests are answered. May be nil.
	Started func()
}

// Words are the texts of one page.
type Words struct{ Title, Why, Fix string }

// Listeners are network addresses in Caddy's notation: "fd/3" for an inherited
// socket, "fdgram/5" for an inherited UDP one, "127.0.0.1:8080" in tests.
type Listeners struct{ HTTP, HTTPS, HTTP3 []string }

// firstFD is where systemd begins to number the sockets it hands over.
const firstFD = 3

// SystemdListeners reads what systemd handed over (LISTEN_FDS, LISTEN_FDNAMES):
// sockets named http, https and, if there is one, http3.
func SystemdListeners(env func(string) string) (Listeners, error) {
	count, _ := strconv.Atoi(env("LISTEN_FDS"))
	pid, _ := strconv.Atoi(env("LISTEN_PID"))
	if count < 1 || count > 64 || pid != os.Getpid() {
		return Listeners{}, appliance.Problem("edge.no-sockets", nil)
	}
	names := strings.Split(env("LISTEN_FDNAMES"), ":")
	var l Listeners
	for i := range count {
		fd := firstFD + i
		unix.CloseOnExec(fd)
		if i < len(names) {
			l.add(names[i], fd)
		}
	}
	if len(l.HTTP) == 0 || len(l.HTTPS) == 0 {
		return Listeners{}, appliance.Problem("edge.no-sockets", fmt.Errorf("got sockets named %q", names))
	}
	return l, nil
}

func (l *Listeners) add(name string, fd int) {
	switch name {
	case "http":
		l.HTTP = append(l.HTTP, fmt.Sprintf("fd/%d", fd))
	case "https":
		l.HTTPS = append(l.HTTPS, fmt.Sprintf("fd/%d", fd))
	case "http3":
		l.HTTP3 = append(l.HTTP3, fmt.Sprintf("fdgram/%d", fd))
	}
}

// maxSettings bounds settings.json, in bytes.
const maxSettings = 64 << 10

// LoadSettings reads settings.json strictly.
func LoadSettings(path string) (appliance.EdgeSettings, error) {
	file, err := os.Open(path)
	if err != nil {
		return appliance.EdgeSettings{}, appliance.Problem("edge.settings", err, "file", path, "detail", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSettings))
	if err != nil {
		return appliance.EdgeSettings{}, appliance.Problem("edge.settings", err, "file", path, "detail", err)
	}
	s, err := parseSettings(data)
	if err != nil {
		return s, appliance.Problem("edge.settings", err, "file", path, "detail", err)
	}
	return s, nil
}

func parseSettings(data []byte) (appliance.EdgeSettings, error) {
	var s appliance.EdgeSettings
	if err := json.Unmarshal(data, &s); err != nil {
		return s, err
	}
	if s.Schema < 1 || s.Schema > SettingsSchema {
		return s, fmt.Errorf("schema %d is not known here, only up to %d", s.Schema, SettingsSchema)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, err
	}
	if s.TLS != "acme" && s.TLS != "internal" {
		return s, fmt.Errorf("tls is %q, not acme or internal", s.TLS)
	}
	return s, nil
}
