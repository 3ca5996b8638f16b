// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// shell runs programs in a virtual machine over SSH, on one connection that is made anew when it breaks.
type shell struct {
	at  netip.AddrPort
	key ssh.Signer

	mu     sync.Mutex
	client *ssh.Client
}

// connect returns the connection, trying until the machine answers or the context ends.
func (s *shell) connect(ctx context.Context) (*ssh.Client, error) {
	for {
		client, err := s.dial(ctx)
		if err == nil {
			return client, nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return nil, fmt.Errorf("no SSH answer from %s (%w): %w", s.at, err, context.Cause(ctx))
		}
	}
}

func (s *shell) dial(ctx context.Context) (*ssh.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		if answers(s.client) {
			return s.client, nil
		}
		s.client = nil
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", s.at.String())
	if err != nil {
		return nil, err
	}
	// Emulated machines take their time for a handshake; one that was reset meanwhile never answers.
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	transport, channels, requests, err := ssh.NewClientConn(conn, s.at.String(), &ssh.ClientConfig{
		User: "root",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(s.key)},
		// The address is on a bridge inside of the build machine, and the machine was started a moment ago.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.client = ssh.NewClient(transport, channels, requests)
	return s.client, nil
}

// answers tells whether a connection lives; one that does not is closed.
func answers(client *ssh.Client) bool {
	timer := time.AfterFunc(20*time.Second, func() { _ = client.Close() }) // the request then fails
	defer timer.Stop()
	if _, _, err := client.SendRequest("keepalive@testhost", true, nil); err != nil {
		_ = client.Close() // it is broken already
		return false
	}
	return true
}

// drop closes the connection, since the machine is gone or about to go.
func (s *shell) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		_ = s.client.Close() // it may be broken already
		s.client = nil
	}
}

// start starts a program. Its process group is recorded in the machine, so that it can be killed there: closing an SSH
// session leaves the program running.
func (s *shell) start(ctx context.Context, c Command) (*Process, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("no program named")
	}
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	id := groupFile()
	session.Stdin, session.Stdout, session.Stderr = c.Stdin, c.Stdout, c.Stderr
	if err := session.Start(remoteLine(id, c)); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	p := &sshProcess{shell: s, ctx: ctx, session: session, id: id}
	p.stop = context.AfterFunc(ctx, func() { _ = p.kill() })
	return &Process{wait: p.wait, kill: p.kill}, nil
}

func groupFile() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // crypto/rand never fails
	return "/run/testhost-" + hex.EncodeToString(id[:])
}

// remoteLine quotes a command for the shell that sshd starts.
func remoteLine(id string, c Command) string {
	dir := c.Dir
	if dir == "" {
		dir = "/root"
	}
	const script = `echo $$ >"$0"; exec "$@"`
	words := []string{"exec", "sh", "-c", script, id, "env", "-i", "-C", dir,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root",
		"LC_ALL=C.UTF-8"}
	words = append(append(words, c.Env...), c.Args...)
	for i, word := range words[1:] {
		words[i+1] = quote(word)
	}
	return strings.Join(words, " ")
}

// quote makes one word of a shell's input.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// sshProcess is a program that runs in a virtual machine.
type sshProcess struct {
	shell   *shell
	ctx     context.Context
	session *ssh.Session
	id      string
	stop    func() bool
}

func (p *sshProcess) wait() (int, error) {
	result := make(chan error, 1)
	go func() { result <- p.session.Wait() }()
	var err error
	select {
	case err = <-result:
	case <-p.ctx.Done():
		// The kill is on its way. A machine that does not answer it must not hold up the caller.
		select {
		case <-result: //nolint:errcheck // it was killed
		case <-time.After(killTime):
		}
	}
	p.stop()
	if cause := context.Cause(p.ctx); cause != nil {
		return -1, fmt.Errorf("killed, since the time for it was over: %w", cause)
	}
	return sshCode(err)
}

// killTime bounds what it may take to end a program in an emulated machine.
const killTime = 30 * time.Second

// kill sends SIGKILL to the program's group, which may be about to be recorded still. Where that can not be done the
// machine is gone, and the session is closed.
func (p *sshProcess) kill() error {
	const script = `i=0; until test -s "$f" || test $i -ge 100; do sleep 0.1; i=$((i+1)); done; kill -KILL -- -$(cat "$f")`
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	client, err := p.shell.dial(ctx)
	if err == nil {
		var session *ssh.Session
		if session, err = client.NewSession(); err == nil {
			defer session.Close()
			err = session.Run("f=" + quote(p.id) + "; " + script)
		}
	}
	if err != nil {
		_ = p.session.Close() // it is broken already
	}
	return err
}

// sshCode turns a session's end into an exit code.
func sshCode(err error) (int, error) {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Signal() != "":
		return 128 + signalNumber(exit.Signal()), nil
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	}
	return -1, err
}

// signalNumber knows the signals that SSH names.
func signalNumber(name string) int {
	numbers := map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10,
		"SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15}
	return numbers[name]
}
