// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"rochdale/installer/testhost"
)

// postgresBin is where Debian 12 has the programs of its PostgreSQL, in the machine
// that the image is taken from and in the image.
const postgresBin = "/usr/lib/postgresql/15/bin"

// postgresStart is the program of the image. A cluster that a power cut left half
// made is made anew: it counts from the moment it has its name.
const postgresStart = `#!/bin/sh
set -e
rows=/rows/cluster
if [ ! -d $rows ]; then
	rm -rf $rows.new
	initdb --pgdata=$rows.new --username=coop --auth=scram-sha-256 --pwfile=/run/secrets/database-password --encoding=UTF8 --locale=C
	echo 'host all all all scram-sha-256' >>$rows.new/pg_hba.conf
	mv $rows.new $rows
fi
exec postgres -D $rows -c 'listen_addresses=*' -c unix_socket_directories= -c shared_buffers=32MB
`

// postgresUser is who the containers run as; initdb wants that user to have a name.
const postgresUser = "coop:x:65532:65532::/:/bin/sh\n"

// onPostgres is the delivery stack with its rows in a server of its own.
func onPostgres(t *testing.T) flavour {
	t.Helper()
	return flavour{
		postgres: true,
		change: []string{
			"{engine: sqlite, volume: data, path: coop.db}", "{engine: postgres, service: db, name: coop}",
			"needs: {memory: 128M,", "needs: {memory: 384M,",
			"COOP_DATABASE: sqlite:/data/coop.db", "COOP_DATABASE: postgres://coop@db:5432/${ROCHDALE_DATABASE}\n      COOP_DATABASE_PASSWORD_FILE: /run/secrets/database-password",
			`volumes: ["data:/data"]`, "depends_on: [db]",
			"volumes:\n  data:\n", `  db:
    image: db
    volumes: ["rows:/rows"]
    tmpfs: ["/tmp:size=16M"]
    mem_limit: 256M
    cpus: 1
    pids_limit: 128
    stop_signal: SIGINT
    stop_grace_period: 30s
    healthcheck:
      test: [CMD, pg_isready, --host=127.0.0.1, --username=coop]
      interval: 30s
      timeout: 30s
      start_period: 60s
      retries: 3
volumes:
  rows:
`,
		},
		archives: map[string]string{runtime.GOARCH: postgresArchive(t, runtime.GOARCH), otherArch(): postgresArchive(t, otherArch())},
	}
}

// postgresArchive gives an image of Debian's PostgreSQL as "docker save" writes it,
// made once and kept. That for another machine has nothing in it: nobody runs it.
func postgresArchive(t *testing.T, arch string) string {
	t.Helper()
	root, err := os.OpenRoot(withEngine(t, "bookworm"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	files := map[string]string{}
	if arch == runtime.GOARCH {
		if files, err = postgresFiles(t, root); err != nil {
			t.Fatal(err)
		}
	}
	config, err := json.Marshal(postgresConfig())
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %q", root.Name(), config, postgresStart, postgresUser, files))
	path := filepath.Join(testhost.CacheDir(), "images", fmt.Sprintf("postgres-%s-%x.tar", arch, key[:6]))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	var layer bytes.Buffer
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), packLayer(&layer, root, files)); err != nil {
		t.Fatal(err)
	}
	part := fmt.Sprintf("%s.%d.part", path, os.Getpid())
	if err := errors.Join(saveImage(part, arch, layer.Bytes()), os.Rename(part, path)); err != nil {
		t.Fatal(err)
	}
	t.Logf("an image of PostgreSQL for %s, %d MB without compression", arch, layer.Len()>>20)
	return path
}

// postgresFiles are the files of the image by their names in it, and where they are
// in root: the server, the programs of its own that we run, the shell and the tools
// of the start, and all that these are linked to. What compiles queries is left out:
// it is larger than everything else.
func postgresFiles(t *testing.T, root *os.Root) (map[string]string, error) {
	t.Helper()
	programs := []string{"/bin/sh", "/bin/mv", "/bin/rm"}
	for _, program := range []string{"initdb", "postgres", "pg_isready", "pg_dump", "pg_restore", "psql"} {
		programs = append(programs, postgresBin+"/"+program)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/ldd", programs...)
	cmd.SysProcAttr, cmd.Dir, cmd.Env = &syscall.SysProcAttr{Chroot: root.Name()}, "/", []string{"PATH=/usr/bin:/bin"}
	linked, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, path := range slices.Concat(programs, strings.Fields(string(linked))) {
		if strings.HasPrefix(path, "/") && !strings.HasSuffix(path, ":") { // a name of a program begins its list
			files[path[1:]] = path[1:]
			if to, err := root.Readlink(path[1:]); err == nil && filepath.IsAbs(to) {
				files[path[1:]] = to[1:] // within the root, which links of this kind would leave
			}
		}
	}
	for _, dir := range []string{"usr/lib/postgresql/15/lib", "usr/share/postgresql/15"} {
		err := fs.WalkDir(root.FS(), dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"bitcode", "man", "pgxs"}, d.Name()):
				return fs.SkipDir
			case d.Type().IsRegular() && !strings.HasPrefix(d.Name(), "llvmjit"):
				files[path] = path
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// packLayer writes the one layer: the files, and those of our own.
func packLayer(out io.Writer, root *os.Root, files map[string]string) error {
	w := tar.NewWriter(out)
	add := func(name string, mode int64, content []byte) error {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	}
	err := errors.Join(add("etc/passwd", 0o644, []byte(postgresUser)), add("start", 0o755, []byte(postgresStart)))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content, readErr := root.ReadFile(files[name])
		if err = errors.Join(err, readErr); err == nil {
			err = add(name, 0o755, content)
		}
	}
	return errors.Join(err, w.Close())
}

// postgresConfig is what a container of the image runs, and in which environment.
func postgresConfig() v1.Config {
	return v1.Config{Entrypoint: []string{"/start"}, Env: []string{"PATH=" + postgresBin + ":/usr/bin:/bin"}}
}

func saveImage(file, arch string, layer []byte) error {
	// Not compressed: every release reads it, and compresses it in a way of its own.
	content, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
		tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, content)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config = postgresConfig()
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	tag, err := name.NewTag("rochdale.test/postgres:15")
	if err != nil {
		return err
	}
	return tarball.WriteToFile(file, tag, img)
}
