// SPDX-License-Identifier: AGPL-3.0-or-later

package acmetest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"rochdale/installer/testhost"
)

// nameServer answers the test's names itself and asks the build machine's resolvers for all others.
type nameServer struct {
	at      netip.AddrPort
	forward []netip.Addr // none: other names are refused
	servers []*dns.Server

	mu    sync.RWMutex
	names map[string]netip.Addr // by lower-case name with the last dot
}

// startNames listens on UDP and TCP port 53 of an address, or on one free port.
func startNames(ip netip.Addr, free bool) (*nameServer, error) {
	s := &nameServer{at: netip.AddrPortFrom(ip, 53), names: map[string]netip.Addr{}}
	if free {
		s.at = netip.AddrPortFrom(ip, 0)
	}
	if forward, err := testhost.Resolvers(); err == nil {
		s.forward = forward
	}
	listener, err := net.Listen("tcp", s.at.String())
	if err != nil {
		return nil, err
	}
	s.at = netip.MustParseAddrPort(listener.Addr().String())
	packets, err := net.ListenPacket("udp", s.at.String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: listener, Handler: s}} {
		if err := startServer(server); err != nil {
			return nil, errors.Join(err, s.close(), packets.Close(), listener.Close())
		}
		s.servers = append(s.servers, server)
	}
	return s, nil
}

// startServer serves in the background and returns when requests are answered.
func startServer(server *dns.Server) error {
	started, failed := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { failed <- server.ActivateAndServe() }()
	select {
	case <-started:
		return nil
	case err := <-failed:
		return err
	}
}

func (s *nameServer) set(name string, ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[dns.CanonicalName(name)] = ip
}

func (s *nameServer) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, dns.CanonicalName(name))
}

func (s *nameServer) lookup(name string) (netip.Addr, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ip, ok := s.names[dns.CanonicalName(name)]
	return ip, ok
}

func (s *nameServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.ShutdownContext(ctx))
	}
	return errors.Join(errs...)
}

// ServeDNS answers one request.
func (s *nameServer) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	reply := new(dns.Msg).SetReply(request)
	if len(request.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
		_ = w.WriteMsg(reply) // whoever asked has gone; there is nobody to tell
		return
	}
	question := request.Question[0]
	ip, known := s.lookup(question.Name)
	if !known {
		_ = w.WriteMsg(s.ask(w.RemoteAddr().Network(), request))
		return
	}
	reply.Authoritative = true
	if record := answer(question, ip); record != nil {
		reply.Answer = []dns.RR{record}
	}
	_ = w.WriteMsg(reply)
}

// answer is the address record of the asked family; other types of a known name are empty answers.
func answer(question dns.Question, ip netip.Addr) dns.RR {
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 1}
	switch {
	case question.Qtype == dns.TypeA && ip.Is4():
		return &dns.A{Hdr: header, A: ip.AsSlice()}
	case question.Qtype == dns.TypeAAAA && ip.Is6():
		return &dns.AAAA{Hdr: header, AAAA: ip.AsSlice()}
	}
	return nil
}

// ask forwards a request and returns the first answer, or a failure for the asker to retry. Names of the reserved test
// domains never leave the build machine: they do not exist.
func (s *nameServer) ask(network string, request *dns.Msg) *dns.Msg {
	client := &dns.Client{Net: network, Timeout: 4 * time.Second}
	if !reserved(request.Question[0].Name) {
		for _, server := range s.forward {
			if reply, _, err := client.Exchange(request, netip.AddrPortFrom(server, 53).String()); err == nil {
				return reply
			}
		}
		return new(dns.Msg).SetRcode(request, dns.RcodeServerFailure)
	}
	return new(dns.Msg).SetRcode(request, dns.RcodeNameError)
}

// reserved tells whether RFC 6761 sets the name aside for tests and examples.
func reserved(name string) bool {
	for _, zone := range []string{"example.", "test.", "invalid.", "example.com.", "example.org.", "example.net."} {
		if dns.IsSubDomain(zone, dns.CanonicalName(name)) {
			return true
		}
	}
	return false
}
