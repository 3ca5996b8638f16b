// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package shelf_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"rochdale/backups/shelf"
)

// gateway is a real object store on top of a folder. Building it takes minutes
// the first time.
const gateway = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// TestS3Gateway holds the real store against the contract that the twin passes.
func TestS3Gateway(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	build := exec.Command("go", "install", "-p", "1", gateway)
	build.Dir, build.Env = bin, append(os.Environ(), "GOBIN="+bin)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "coop"), 0o700); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	start(t, filepath.Join(bin, "versitygw"), "--access", "coop", "--secret", "coop-secret", "--port", address, "posix", dir)
	waitFor(t, address)
	at := func(path string) shelf.Place { return storePlace("http://"+address, path) }
	t.Run("contract", func(t *testing.T) {
		contract(t, ground{at("/coop"), at("/nobody/repo"), plantIn(filepath.Join(dir, "coop"))})
	})
	t.Run("in a folder", func(t *testing.T) {
		contract(t, ground{at("/coop/a/repo/"), at("/nobody"), plantIn(filepath.Join(dir, "coop/a/repo"))})
	})
	t.Run("put back", func(t *testing.T) {
		putBackContract(t, ground{at("/coop/b"), at("/nobody"), plantIn(filepath.Join(dir, "coop/b"))})
	})
	t.Run("wrong secret", func(t *testing.T) {
		p := at("/coop")
		p.Env["AWS_SECRET_ACCESS_KEY"] = "wrong"
		if _, err := open(t, p).Get(t.Context(), "config"); idOf(err) != "kit.shelf-denied" {
			t.Errorf("got %v", err)
		}
	})
}
