// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rochdale/backups/restictest"
	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/installer/testhost/acmetest"
	"rochdale/stacks/coop/walk"
)

// TestRecover loses a whole machine and makes another one into it, from what was
// printed and a repository elsewhere. A short run takes one kind of elsewhere and some
// points at which it is killed, by seed. `make torture` takes all, and loses a gigabyte.
func TestRecover(t *testing.T) {
	t.Parallel()
	elsewhere := []struct {
		name string
		open func(*testing.T, context.Context) place
	}{{"sftp", overSFTP}, {"s3", overS3}}
	if !torture() {
		n := seeded(t).IntN(len(elsewhere))
		elsewhere = elsewhere[n : n+1]
	}
	for _, e := range elsewhere {
		if !torture() {
			t.Run(e.name, func(t *testing.T) { loseAndRecover(t, e.open, loss{binary: failpoints(t), points: true}) })
		} else {
			t.Run(e.name+" at once", func(t *testing.T) { loseAndRecover(t, e.open, loss{}) })
			t.Run(e.name+" killed", func(t *testing.T) { loseAndRecover(t, e.open, loss{kills: []int{5, 20, 40, 60, 80}}) })
			t.Run(e.name+" large", func(t *testing.T) { loseAndRecover(t, e.open, loss{files: 8}) })
		}
	}
	if torture() {
		t.Run("killed at each step", killRecovery)
	}
}

// loss is how a machine is lost.
type loss struct {
	kills  []int  // the recovery is killed after so many seconds of each attempt but the last
	binary string // of the second machine; empty: the product's
	points bool   // the recovery is killed at some points of its plans
	files  int    // of 128 MiB, which can not be compressed, beside the platform's database
}

// place is where a co-op keeps its backups away from the machine.
type place struct {
	url           string
	folder        string                                                 // where it lies on the build machine, if it does
	admit         func(t *testing.T, ctx context.Context, b *box.Box)    // gives a box its credentials, as the guide says
	read          func(ctx context.Context, name string) ([]byte, error) // gives a file from beside the repository
	pages, needed int                                                    // how the secret of the kit is printed
}

func loseAndRecover(t *testing.T, open func(*testing.T, context.Context) place, how loss) {
	ctx := within(t, time.Hour)
	if err := testhost.Setup(ctx, os.Stderr); err != nil {
		t.Fatal(err)
	}
	authority, err := acmetest.Start(ctx, acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	store := open(t, ctx)
	first := boot(t, box.Options{Name: "first", CA: authority})
	lost := useAndSave(t, ctx, first, store, how)
	if err := first.Machine.Close(); err != nil {
		t.Fatal(err)
	}

	second := boot(t, box.Options{Name: "second", CA: authority, Binary: how.binary})
	bringKit(t, ctx, second, store, lost.pages)
	began := time.Now()
	if how.points {
		killOnTheWay(t, ctx, second, lost.pages)
	}
	recoverBox(t, ctx, second, lost.pages, how.kills)
	if err := second.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("from the bare machine to an answer over HTTPS: %.1f s", time.Since(began).Seconds())
	servesLost(t, ctx, second, lost)
	if how.files > 0 {
		inside(t, ctx, second, volume+"\nsha256sum --quiet -c <<'END'\n"+lost.files+"\nEND")
	}
	ownsStore(t, ctx, second, store)
}

// life is what a machine had when it was lost.
type life struct {
	options     walk.Options
	receipt     walk.Receipt
	pages       []string // as they were printed, as many as are needed
	certificate *big.Int
	files       string // names and sums of the large ones
}

// overSFTP is a plain machine that somebody lends: SFTP, and nothing of ours.
func overSFTP(t *testing.T, ctx context.Context) place {
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
	admit := func(t *testing.T, ctx context.Context, b *box.Box) {
		key := inside(t, ctx, b, fmt.Sprintf(`DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install openssh-client >/dev/null
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; ssh-keyscan -t ed25519 %s >>/root/.ssh/known_hosts 2>/dev/null
cat /root/.ssh/id_ed25519.pub`, m.IP))
		inside(t, ctx, m, "echo '"+key+"' >/home/rides/.ssh/authorized_keys; chown rides /home/rides/.ssh/authorized_keys")
	}
	read := func(ctx context.Context, name string) ([]byte, error) { return m.ReadFile(ctx, "/srv/rides/"+name) }
	return place{url: fmt.Sprintf("sftp:rides@%s:/srv/rides", m.IP), admit: admit, read: read, pages: 3, needed: 2}
}

// overS3 is an object store that somebody rents, at an address on the bridge.
func overS3(t *testing.T, _ context.Context) place {
	t.Helper()
	store := restictest.Objects(t, testhost.HostIP().String())
	admit := func(t *testing.T, ctx context.Context, b *box.Box) {
		inside(t, ctx, b, fmt.Sprintf(`umask 077; printf 'AWS_ACCESS_KEY_ID=%%s\nAWS_SECRET_ACCESS_KEY=%%s\n' %s %s >/etc/rochdale/backups/offsite.env`,
			restictest.ObjectKey, restictest.ObjectSecret))
	}
	read := func(_ context.Context, name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(store.Bucket, "rides", name))
	}
	return place{folder: store.Bucket, url: "s3:http://" + store.Address + "/coop/rides", admit: admit, read: read, pages: 1, needed: 1}
}

func inside(t *testing.T, ctx context.Context, m box.Machine, script string) string {
	t.Helper()
	out, err := m.Output(ctx, "sh", "-ec", script)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// volume goes into the folder of the platform's data.
const volume = "cd /var/lib/rochdale/stacks/delivery/data/*/data"

// useAndSave installs, sells, prints the pages and saves to the store.
func useAndSave(t *testing.T, ctx context.Context, b *box.Box, store place, how loss) life {
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
	if how.files > 0 {
		l.files = inside(t, ctx, b, volume+fmt.Sprintf(`
install -d -o 65532 -g 65532 -m 700 photos
for n in $(seq %d); do head -c 128M /dev/urandom >photos/$n; chown 65532:65532 photos/$n; done
sha256sum photos/*`, how.files))
	}
	store.admit(t, ctx, b)
	inside(t, ctx, b, fmt.Sprintf(`printf 'backups:\n  repositories:\n    offsite: {url: "%s"}\n' >>/etc/rochdale/rochdale.yaml
systemctl reload rochdale; sleep 1`, store.url))
	began := time.Now()
	inside(t, ctx, b, "rochdale backup run")
	t.Logf("saved %d MiB of files and the rest, here and there: %.1f s", 128*how.files, time.Since(began).Seconds())
	inside(t, ctx, b, fmt.Sprintf("rochdale recovery print --pages %d --needed %d --output /root/pages --json", store.pages, store.needed))
	inside(t, ctx, b, "rochdale backup run --databases; rochdale status --json >/dev/null || true")
	for n := range store.needed {
		l.pages = append(l.pages, inside(t, ctx, b, fmt.Sprintf("cat /root/pages/*-page-%d-of-%d.txt", n+1, store.pages)))
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
func bringKit(t *testing.T, ctx context.Context, b *box.Box, store place, pages []string) {
	t.Helper()
	kit, err := store.read(ctx, "rochdale-kit.age")
	if err != nil {
		t.Fatal(err)
	}
	err = b.WriteFile(ctx, "/root/rochdale-kit.age", kit, 0o600)
	for i, page := range pages {
		err = errors.Join(err, b.WriteFile(ctx, pageFile(i), []byte(page), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func pageFile(i int) string { return fmt.Sprintf("/root/page-%d", i+1) }

// recoverBox runs the one command, with a kill -9 in the middle as often as asked.
func recoverBox(t *testing.T, ctx context.Context, b *box.Box, pages []string, kills []int) {
	t.Helper()
	args := recoverArgs(pages)
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
func ownsStore(t *testing.T, ctx context.Context, b *box.Box, store place) {
	t.Helper()
	beside := func(name string) string {
		data, err := store.read(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var owner struct {
		Epoch int64 `json:"epoch"`
	}
	if err := json.Unmarshal([]byte(beside("rochdale-owner.json")), &owner); err != nil || owner.Epoch != 2 {
		t.Errorf("the repository is of epoch %d, %v", owner.Epoch, err)
	}
	before := beside("rochdale-kit.json")
	inside(t, ctx, b, "rochdale backup run")
	for range 30 {
		if beside("rochdale-kit.json") != before {
			return
		}
		time.Sleep(time.Second)
	}
	t.Error("the new machine issued no recovery kit")
}
