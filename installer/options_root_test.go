// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A private authority often hands out its certificate and its key in one file;
// what the installer keeps is readable by everybody.
func TestReadRootKeepsNoKey(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, of, of, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	both := append(secret, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, both, 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := readRoot(path)
	if err != nil || strings.Contains(string(kept), "PRIVATE") || !strings.Contains(string(kept), "CERTIFICATE") {
		t.Errorf("kept %q, %v", kept, err)
	}
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if kept, err := readRoot(path); err == nil {
		t.Errorf("a file without a certificate was kept: %q", kept)
	}
	if _, err := readRoot(filepath.Dir(path)); err == nil {
		t.Error("a folder was taken for a certificate")
	}
}
