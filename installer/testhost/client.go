// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Transport is for clients on the build machine that talk to machines by name: hosts maps names to addresses (or
// ADDRESS:PORT, where a port is forwarded). A name that is not in it is refused, so that no test asks the real world by
// mistake. roots are the authorities to trust; nil means those of the build machine.
func Transport(hosts map[string]string, roots *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			target, err := resolve(hosts, address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, target)
		},
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       30 * time.Second,
	}
}

func resolve(hosts map[string]string, address string) (string, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	target, ok := hosts[strings.ToLower(name)]
	if !ok {
		if ip, err := netip.ParseAddr(name); err == nil && (ip.IsLoopback() || ip.IsPrivate()) {
			return address, nil
		}
		return "", fmt.Errorf("the test knows no machine named %q", name)
	}
	if _, _, err := net.SplitHostPort(target); err == nil {
		return target, nil
	}
	return net.JoinHostPort(target, port), nil
}

// resolverFile renders a machine's resolv.conf.
func resolverFile(chosen netip.Addr) ([]byte, error) {
	if chosen.IsValid() {
		return fmt.Appendf(nil, "nameserver %s\n", chosen), nil
	}
	servers, err := Resolvers()
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, server := range servers {
		out = fmt.Appendf(out, "nameserver %s\n", server)
	}
	return out, nil
}

// Resolvers returns the DNS servers of the build machine that a machine can reach too: those that are not its own loopback.
func Resolvers() ([]netip.Addr, error) {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if servers := nameservers(string(data)); len(servers) > 0 {
			return servers, nil
		}
	}
	return nil, fmt.Errorf("the build machine has no DNS server that a test machine could reach: name one in Options.Resolver")
}

func nameservers(resolvConf string) []netip.Addr {
	var servers []netip.Addr
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if ip, err := netip.ParseAddr(fields[1]); err == nil && ip.Is4() && !ip.IsLoopback() {
			servers = append(servers, ip)
		}
	}
	return servers
}

// exitCode is a shell's view of how a process ended.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// hostArch is the build machine's architecture in Debian's and Go's words, which agree for those that are emulated.
func hostArch() string { return runtime.GOARCH }
