// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import "time"

// RoutesSchema is the version of the document that the daemon sends the edge.
const RoutesSchema = 1

// Routes is the whole of what the edge has to know. The daemon sends it over
// the edge's socket; the edge keeps it durably and starts from it.
type Routes struct {
	Schema int `json:"schema"`
	// Version grows with each change; the edge refuses an older one.
	Version uint64          `json:"version"`
	Hosts   map[string]Host `json:"hosts"` // by lower-case name, no port
}

// Host is where the requests of one host name go.
type Host struct {
	Stack string `json:"stack"`
	// Upstream is "address:port", or empty while nothing runs.
	Upstream string `json:"upstream,omitempty"`
	// RedirectTo is another host name that this one only points to.
	RedirectTo string `json:"redirect_to,omitempty"`
	Gate       Gate   `json:"gate"`
}

// GateMode is what the gate does with a new request.
type GateMode string

// The modes of the gate.
const (
	GateOpen GateMode = "open"
	// GateHold keeps requests waiting until the gate opens or Until has come;
	// then it behaves like GateClosed.
	GateHold GateMode = "hold"
	// GateClosed answers with the maintenance page.
	GateClosed GateMode = "closed"
)

// Gate holds or turns away the requests of a stack during a change.
type Gate struct {
	Mode GateMode `json:"mode"`
	// Until bounds GateHold, and is the time on the maintenance page of GateClosed.
	Until time.Time `json:"until,omitzero"`
}

// EdgeSettings is how the edge gets its certificates. It is read when the edge
// starts; a change restarts the edge.
type EdgeSettings struct {
	Schema int `json:"schema"`
	// TLS is "acme" or "internal".
	TLS string `json:"tls"`
	// Email is given to the certificate authority; may be empty.
	Email string `json:"email,omitempty"`
	// ACMECA is the directory address of the authority; empty: Let's Encrypt.
	ACMECA string `json:"acme_ca,omitempty"`
	// ACMERoot is a PEM file that the authority's own HTTPS is trusted by.
	ACMERoot string `json:"acme_root,omitempty"`
}

// Certificate is one certificate that the edge holds.
type Certificate struct {
	Name     string    `json:"name"`
	NotAfter time.Time `json:"not_after"`
	Issuer   string    `json:"issuer"`
	// Error is why the last attempt to get or renew it failed; empty if none did.
	Error string `json:"error,omitempty"`
}
