// SPDX-License-Identifier: AGPL-3.0-or-later

package restictest

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rochdale/appliance/host"
)

// ObjectStore is a real object store on top of a folder, which speaks S3 without
// TLS. It has one bucket, coop.
type ObjectStore struct {
	Address string // IP:port
	Bucket  string // the folder that the bucket is
}

// The keys of an [ObjectStore].
const (
	ObjectKey    = "coop"
	ObjectSecret = "coop-secret" // it opens nothing but folders of tests
)

const gateway = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// Objects runs an object store on a free port of this IP address until the test
// ends. Building it takes minutes the first time; it is kept in the user's cache
// folder.
func Objects(t testing.TB, ip string) ObjectStore {
	t.Helper()
	program, err := objectProgram(t.Context())
	if err != nil {
		t.Fatalf("get the object store: %v", err)
	}
	dir := t.TempDir()
	s := ObjectStore{Address: freePort(t, ip), Bucket: filepath.Join(dir, "coop")}
	if err := os.Mkdir(s.Bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	serve(t, host.Command{Name: program, Args: []string{"--access", ObjectKey, "--secret", ObjectSecret, "--port", s.Address, "posix", dir}})
	for range 600 {
		if c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Address); err == nil {
			c.Close()
			return s
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", s.Address)
	return s
}

// serve runs a program until the test ends.
func serve(t testing.TB, c host.Command) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context())) // cleanups of the test still need it
	ended := make(chan error, 1)
	go func() {
		_, err := host.Exec{}.Run(ctx, c)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s ended by itself: %v", filepath.Base(c.Name), err)
		}
	})
}

func objectProgram(ctx context.Context) (string, error) {
	dir, err := cacheFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, filepath.Base(gateway))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, aside(path, func(temp string) error {
		env := append(os.Environ(), "GOBIN="+temp)
		_, err := host.Exec{}.Run(ctx, host.Command{Name: "go", Dir: temp, Env: env, Args: []string{"install", "-p", "1", gateway}})
		if err != nil {
			return err
		}
		return os.Rename(filepath.Join(temp, "versitygw"), path)
	})
}

func freePort(t testing.TB, ip string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
