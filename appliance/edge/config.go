// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"encoding/json"
	"path/filepath"
	"time"
)

// object is a piece of Caddy's configuration.
type object = map[string]any

// caddyConfig renders Caddy's configuration. It depends on the options alone,
// never on hosts, so that nothing has to be reloaded while the edge runs.
func caddyConfig(o Options) ([]byte, error) {
	apps := object{
		"http": object{
			"grace_period": "10s",
			"servers":      object{"plain": plainServer(o), "secure": secureServer(o)},
		},
		"tls": tlsApp(o),
	}
	if o.Settings.TLS == "internal" {
		apps["pki"] = pkiApp()
	}
	return json.MarshalIndent(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": logging(),
		"storage": object{"module": "file_system", "root": filepath.Join(o.Dir, "caddy")},
		"apps":    apps,
	}, "", "  ")
}

// logging keeps Caddy's own messages, but not those that hold a request: our
// own line a request has no secrets.
func logging() object {
	return object{"logs": object{"default": object{
		"writer": object{"output": "stderr"}, // JSON unless it is a terminal
		"level":  "WARN",
		// Strangers can repeat a failing handshake as often as they like.
		"sampling": object{"interval": int64(time.Minute), "first": 5, "thereafter": 1000},
		"exclude":  []string{"http.log.access", "http.log.error", "http.handlers.reverse_proxy"},
	}}}
}

// maxHeader bounds the headers of a request, in bytes.
const maxHeader = 32 << 10

// timeouts bounds what a slow client can cost. Bodies have no deadline of
// their own as long as they keep coming.
func timeouts(server object) object {
	server["read_header_timeout"] = "10s"
	server["read_idle_timeout"] = "30s"
	server["write_idle_timeout"] = "60s"
	server["idle_timeout"] = "2m"
	server["max_header_bytes"] = maxHeader
	server["automatic_https"] = object{"disable": true}
	server["listener_wrappers"] = []object{{"wrapper": "rochdale_gate"}, {"wrapper": "tls"}}
	return server
}

func plainServer(o Options) object {
	return timeouts(object{
		"listen":    o.Listeners.HTTP,
		"protocols": []string{"h1"},
		"routes":    []object{{"handle": []object{{"handler": "rochdale_plain"}}}},
	})
}

func secureServer(o Options) object {
	return timeouts(object{
		"listen":                  o.Listeners.HTTPS,
		"protocols":               []string{"h1", "h2"}, // HTTP/3 has a door of our own
		"tls_connection_policies": []object{{}},
		"routes": []object{{"handle": []object{
			{"handler": "rochdale_front"}, compression(), proxy(),
		}}},
	})
}

// compression leaves out event streams and what is compressed already.
func compression() object {
	return object{
		"handler":        "encode",
		"encodings":      object{"zstd": object{"level": "fastest"}, "gzip": object{"level": 5}},
		"prefer":         []string{"zstd", "gzip"},
		"minimum_length": 512,
		"match": object{"headers": object{"Content-Type": []string{
			"text/html*", "text/css*", "text/plain*", "text/javascript*", "text/xml*", "text/csv*", "text/markdown*",
			"application/json*", "application/*+json*", "application/javascript*", "application/xml*", "application/*+xml*",
			"application/wasm*", "image/svg+xml*", "font/ttf*", "font/otf*",
		}}},
	}
}

// proxy tries again only when the dial failed: then nothing was sent. The
// method of retry_match can not occur in a request, and so nothing else is
// ever tried again.
func proxy() object {
	return object{
		"handler":           "reverse_proxy",
		"dynamic_upstreams": object{"source": "rochdale"},
		"load_balancing": object{
			"try_duration": "5s", "try_interval": "50ms",
			"retry_match": []object{{"method": []string{"(none)"}}},
		},
		"transport": object{
			"protocol":                 "rochdale",
			"dial_timeout":             "3s",
			"response_header_timeout":  "2m",
			"max_response_header_size": 64 << 10,
			"compression":              false,
			"versions":                 []string{"1.1"},
			"network_proxy":            object{"from": "none"},
			// Servers hang up on idle connections, Node after 5 s: we do it first,
			// because a request on a connection that just ended is lost.
			"keep_alive": object{"idle_timeout": "2s", "max_idle_conns_per_host": 64},
		},
	}
}

// tlsApp gets certificates by the one configured issuer; Caddy's default would
// ask a second authority when the first fails.
func tlsApp(o Options) object {
	return object{"automation": object{
		"on_demand": object{"permission": object{"module": "rochdale"}},
		"policies":  []object{{"on_demand": true, "issuers": []object{issuer(o)}}},
	}}
}

func issuer(o Options) object {
	if o.Settings.TLS == "internal" {
		return object{"module": "rochdale_internal", "lifetime": "168h"}
	}
	acme := object{"module": "rochdale_acme"}
	if o.Settings.Email != "" {
		acme["email"] = o.Settings.Email
	}
	if o.Settings.ACMECA != "" {
		acme["ca"] = o.Settings.ACMECA
	}
	if o.Settings.ACMERoot != "" {
		acme["trusted_roots_pem_files"] = []string{o.Settings.ACMERoot}
	}
	challenges := object{}
	if o.ChallengePort != 0 {
		challenges["http"] = object{"alternate_port": o.ChallengePort}
	}
	if o.TLSChallengePort != 0 {
		challenges["tls-alpn"] = object{"alternate_port": o.TLSChallengePort}
	}
	if len(challenges) > 0 {
		acme["challenges"] = challenges
	}
	return acme
}

// pkiApp is the box's own authority. It is never installed into the machine's
// trust store.
func pkiApp() object {
	return object{"certificate_authorities": object{"local": object{
		"name":                     "Rochdale",
		"root_common_name":         "Rochdale root of this box",
		"intermediate_common_name": "Rochdale authority of this box",
		"intermediate_lifetime":    "2160h",
		"install_trust":            false,
	}}}
}
