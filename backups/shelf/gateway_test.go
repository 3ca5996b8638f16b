// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package shelf_test

import (
	"path/filepath"
	"testing"

	"rochdale/backups/restictest"
	"rochdale/backups/shelf"
)

// TestS3Gateway holds a real store against the contract that the twin passes.
func TestS3Gateway(t *testing.T) {
	store := restictest.Objects(t, "127.0.0.1")
	at := func(path string) shelf.Place { return storePlace("http://"+store.Address, path) }
	t.Run("contract", func(t *testing.T) {
		contract(t, ground{at("/coop"), at("/nobody/repo"), plantIn(store.Bucket)})
	})
	t.Run("in a folder", func(t *testing.T) {
		contract(t, ground{at("/coop/a/repo/"), at("/nobody"), plantIn(filepath.Join(store.Bucket, "a/repo"))})
	})
	t.Run("put back", func(t *testing.T) {
		putBackContract(t, ground{at("/coop/b"), at("/nobody"), plantIn(filepath.Join(store.Bucket, "b"))})
	})
	t.Run("wrong secret", func(t *testing.T) {
		p := at("/coop")
		p.Env["AWS_SECRET_ACCESS_KEY"] = "wrong"
		if _, err := open(t, p).Get(t.Context(), "config"); idOf(err) != "kit.shelf-denied" {
			t.Errorf("got %v", err)
		}
	})
}
