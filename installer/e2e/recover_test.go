// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/installer/testhost/acmetest"
	"rochdale/stacks/coop/walk"
)

// TestRecover loses a whole machine and makes another one into it: from a printed
// kit, two of three pages, and a repository on a third machine. `make torture` also
// kills the recovery on its way.
func TestRecover(t *testing.T) {
	t.Parallel()
	t.Run("at once", func(t *testing.T) { loseAndRecover(t, nil) })
	if torture() {
		t.Run("killed", func(t *testing.T) { loseAndRecover(t, []int{5, 20, 40, 60, 80}) })
	}
}

// loseAndRecover kills the recovery after so many seconds of each attempt but the last.
func loseAndRecover(t *testing.T, kills []int) {
	ctx := within(t, time.Hour)
	authority, err := acmetest.Start(ctx, acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	store := storeMachine(t, ctx)
	first := boot(t, box.Options{Name: "first", CA: authority})
	lost := useAndSave(t, ctx, first, store)
	if err := first.Machine.Close(); err != nil {
		t.Fatal(err)
	}

	second := boot(t, box.Options{Name: "second", CA: authority})
	bringKit(t, ctx, second, store, lost.pages[:2])
	began := time.Now()
	recoverBox(t, ctx, second, kills)
	if err := second.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("from the bare machine to an answer over HTTPS: %.1f s", time.Since(began).Seconds())

	o := lost.options
	o.Transport = second.Transport()
	if err := walk.Verify(ctx, o, lost.receipt); err != nil {
		t.Fatalf("the order of the lost machine: %v", err)
	}
	if serial := certificateOf(t, second); serial.Cmp(lost.certificate) != 0 {
		t.Errorf("the certificate is %x, the lost machine had %x", serial, lost.certificate)
	}
	healthy(t, second)
	ownsStore(t, ctx, second, store)
}

// life is what a machine had when it was lost.
type life struct {
	options     walk.Options
	receipt     walk.Receipt
	pages       []string // as they were printed
	certificate *big.Int
}

// storeMachine is a plain machine that somebody lends: SFTP, and nothing of ours.
func storeMachine(t *testing.T, ctx context.Context) *testhost.Machine {
	t.Helper()
	m, err := testhost.Boot(ctx, testhost.Options{Name: "store", AptCache: cache(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	inside(t, ctx, m, `apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install openssh-server openssh-sftp-server
useradd --create-home rides; install -d -o rides -g rides -m 700 /srv/rides /home/rides/.ssh; systemctl restart ssh`)
	return m
}

func inside(t *testing.T, ctx context.Context, m box.Machine, script string) string {
	t.Helper()
	out, err := m.Output(ctx, "sh", "-ec", script)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// useAndSave installs, sells, prints the pages and saves to the store.
func useAndSave(t *testing.T, ctx context.Context, b *box.Box, store *testhost.Machine) life {
	t.Helper()
	done, err := b.Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	l := life{options: walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(done.AdminLink), Unique: "lost"}}
	if l.receipt, err = walk.Order(ctx, l.options); err != nil {
		t.Fatal(err)
	}
	key := inside(t, ctx, b, fmt.Sprintf(`DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install openssh-client >/dev/null
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; ssh-keyscan -t ed25519 %[1]s >>/root/.ssh/known_hosts 2>/dev/null
printf 'backups:\n  repositories:\n    offsite: {url: "sftp:rides@%[1]s:/srv/rides"}\n' >>/etc/rochdale/rochdale.yaml
cat /root/.ssh/id_ed25519.pub`, store.IP))
	inside(t, ctx, store, "echo '"+key+"' >/home/rides/.ssh/authorized_keys; chown rides /home/rides/.ssh/authorized_keys")
	inside(t, ctx, b, "systemctl reload rochdale; sleep 1; rochdale backup run; rochdale recovery print --pages 3 --needed 2 --output /root/pages --json")
	inside(t, ctx, b, "rochdale backup run --databases; rochdale status --json >/dev/null || true")
	for n := 1; n <= 3; n++ {
		l.pages = append(l.pages, inside(t, ctx, b, fmt.Sprintf("cat /root/pages/*-page-%d-of-3.txt", n)))
	}
	l.certificate = certificateOf(t, b)
	return l
}

// certificateOf is the serial number of what the box shows to visitors.
func certificateOf(t *testing.T, b *box.Box) *big.Int {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.CA.IssuerRootPEM())
	d := tls.Dialer{Config: &tls.Config{ServerName: b.Domain, RootCAs: pool}}
	conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(b.IP.String(), "443"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber
}

// bringKit does what the printed page says: it fetches the kit from where it lies.
func bringKit(t *testing.T, ctx context.Context, b *box.Box, store *testhost.Machine, pages []string) {
	t.Helper()
	kit, err := base64.StdEncoding.DecodeString(inside(t, ctx, store, "base64 -w0 /srv/rides/rochdale-kit.age"))
	if err != nil {
		t.Fatal(err)
	}
	err = b.WriteFile(ctx, "/root/rochdale-kit.age", kit, 0o600)
	for i, page := range pages {
		err = errors.Join(err, b.WriteFile(ctx, fmt.Sprintf("/root/page-%d", i+1), []byte(page), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// recoverBox runs the one command, with a kill -9 in the middle as often as asked.
func recoverBox(t *testing.T, ctx context.Context, b *box.Box, kills []int) {
	t.Helper()
	args := []string{box.Program, "recover", "--kit", "/root/rochdale-kit.age", "--pages", "/root/page-1", "--pages", "/root/page-2", "--json", "--no-input"}
	for _, seconds := range kills {
		r, err := b.Exec(ctx, testhost.Command{Args: append([]string{"timeout", "-s", "KILL", strconv.Itoa(seconds)}, args...)})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("killed after %d s: code %d", seconds, r.Code)
		if r.Code == 0 || r.Code == 3 {
			return
		}
	}
	r, err := b.Exec(ctx, testhost.Command{Args: args})
	if err != nil || r.Code != 0 && r.Code != 3 {
		t.Fatalf("code %d, %v\n%s\n%s", r.Code, err, r.Stdout, r.Stderr)
	}
}

// ownsStore: the repository is the new machine's now, and it saves there.
func ownsStore(t *testing.T, ctx context.Context, b *box.Box, store *testhost.Machine) {
	t.Helper()
	var owner struct {
		Epoch int64 `json:"epoch"`
	}
	if err := json.Unmarshal([]byte(inside(t, ctx, store, "cat /srv/rides/rochdale-owner.json")), &owner); err != nil || owner.Epoch != 2 {
		t.Errorf("the repository is of epoch %d, %v", owner.Epoch, err)
	}
	before := inside(t, ctx, store, "cat /srv/rides/rochdale-kit.json")
	inside(t, ctx, b, "rochdale backup run")
	for range 30 {
		if inside(t, ctx, store, "cat /srv/rides/rochdale-kit.json") != before {
			return
		}
		time.Sleep(time.Second)
	}
	t.Error("the new machine issued no recovery kit")
}
