// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// MaxRoutes bounds the document that the daemon sends, in bytes.
const MaxRoutes = 1 << 20

// parseRoutes reads a document strictly: an unknown newer schema is refused by
// name, an unknown field and a value that can not be are refused too.
func parseRoutes(data []byte) (appliance.Routes, error) {
	var probe struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return appliance.Routes{}, invalidRoutes(err)
	}
	if probe.Schema < 1 || probe.Schema > appliance.RoutesSchema {
		return appliance.Routes{}, appliance.Problem("edge.routes-schema", nil,
			"schema", probe.Schema, "known", appliance.RoutesSchema)
	}
	var r appliance.Routes
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return appliance.Routes{}, invalidRoutes(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return appliance.Routes{}, invalidRoutes(errors.New("something follows the document"))
	}
	if err := validateRoutes(r); err != nil {
		return appliance.Routes{}, invalidRoutes(err)
	}
	return r, nil
}

func invalidRoutes(err error) error {
	return appliance.Problem("edge.routes-invalid", err, "detail", err)
}

func validateRoutes(r appliance.Routes) error {
	if r.Version == 0 {
		return errors.New("version 0")
	}
	for name, h := range r.Hosts {
		if err := validateHost(name, h, r); err != nil {
			return fmt.Errorf("host %q: %w", name, err)
		}
	}
	return nil
}

func validateHost(name string, h appliance.Host, r appliance.Routes) error {
	if !appliance.HostName(name) {
		return errors.New("not a host name")
	}
	if h.Upstream != "" {
		if _, err := netip.ParseAddrPort(h.Upstream); err != nil {
			return fmt.Errorf("upstream %q is not address:port", h.Upstream)
		}
	}
	if h.RedirectTo != "" {
		if to, ok := r.Hosts[h.RedirectTo]; !ok || to.RedirectTo != "" {
			return fmt.Errorf("redirect_to %q is not a host of this document that is served itself", h.RedirectTo)
		}
	}
	switch h.Gate.Mode {
	case appliance.GateOpen, appliance.GateClosed, "":
		return nil
	case appliance.GateHold:
		if h.Gate.Until.IsZero() {
			return errors.New("a gate that holds needs until")
		}
		return nil
	default:
		return fmt.Errorf("gate mode %q is not open, hold or closed", h.Gate.Mode)
	}
}

// store keeps the document on the disk.
type store struct {
	path  string
	files host.Files
}

func newStore(dir string) store {
	return store{path: filepath.Join(dir, "routes.json"), files: host.NewFiles()}
}

// load gives the kept document; none is kept before the daemon sent the first.
func (s store) load() (appliance.Routes, error) {
	data, err := readBounded(s.path, MaxRoutes)
	if errors.Is(err, fs.ErrNotExist) {
		return appliance.Routes{Schema: appliance.RoutesSchema}, nil
	}
	if err != nil {
		return appliance.Routes{}, fmt.Errorf("read the routes: %w", err)
	}
	return parseRoutes(data)
}

func (s store) save(r appliance.Routes) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the routes: %w", err)
	}
	return s.files.Write(s.path, append(data, '\n'), ownAttr())
}

// ownAttr is for files that only this process reads.
func ownAttr() host.Attr {
	return host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()}
}

func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}
