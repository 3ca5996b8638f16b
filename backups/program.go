// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// blob holds restic for the architecture that this program is built for; make
// fills it.
//
//go:embed all:blob
var blob embed.FS

// ErrBuiltWithout is in the chain of what [Restic] returns in a program that
// was built without restic.
var ErrBuiltWithout = errors.New("built without restic")

// Problem is an error of this room for a person. The message catalogues have,
// under its id, what happened, why it matters and what to do.
type Problem struct {
	ID   string // "backups.…"
	Args map[string]string
	Err  error
}

// Error is for logs; people get the text of the catalogues.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.ID)
	for _, k := range slices.Sorted(maps.Keys(p.Args)) {
		fmt.Fprintf(&b, " %s=%q", k, p.Args[k])
	}
	if p.Err != nil {
		fmt.Fprintf(&b, ": %v", p.Err)
	}
	return b.String()
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Disk is the machine's durable writer, as far as this room needs it.
type Disk interface {
	// Stream replaces path by a file with what content gives. When it returns
	// nil the file survives a power cut; an error leaves what was there.
	Stream(path string, content io.Reader, mode fs.FileMode) error
}

// Runner runs a program with arguments and gives what it wrote to its standard
// output. A program that ends with a code other than 0 is an error.
type Runner interface {
	Output(ctx context.Context, program string, args ...string) ([]byte, error)
}

// Program is the restic that this program brings along.
type Program struct {
	Version string // such as 0.19.1
	Arch    string // amd64, arm64 or armv7
	SHA256  string // of the unpacked program, in hex
	open    func() (io.ReadCloser, error)
}

// maxProgram bounds the unpacked size, in bytes.
const maxProgram = 256 << 20

// Restic gives the restic that this program brings along. The error is a
// [*Problem] with [ErrBuiltWithout] in it when there is none.
func Restic() (Program, error) { return resticIn(blob, archOf(runtime.GOARCH)) }

func archOf(goarch string) string {
	if goarch == "arm" {
		return "armv7"
	}
	return goarch
}

func resticIn(files fs.FS, arch string) (Program, error) {
	entries, err := fs.ReadDir(files, "blob")
	if err != nil {
		return Program{}, err
	}
	form := regexp.MustCompile(`^restic_([0-9]+\.[0-9]+\.[0-9]+)_([a-z0-9]+)_([0-9a-f]{64})\.zst$`)
	for _, e := range entries {
		if m := form.FindStringSubmatch(e.Name()); m != nil && m[2] == arch {
			open := func() (io.ReadCloser, error) { return files.Open("blob/" + e.Name()) }
			return Program{Version: m[1], Arch: m[2], SHA256: m[3], open: open}, nil
		}
	}
	return Program{}, &Problem{ID: "backups.built-without", Args: map[string]string{"arch": arch}, Err: ErrBuiltWithout}
}

// Install makes sure that restic lies in dir, which must exist, and gives its
// path. The name holds the program's SHA-256, and the content is compared with
// it each time: a file that differs is replaced.
func (p Program) Install(ctx context.Context, d Disk, dir string) (path string, err error) {
	path = filepath.Join(dir, "restic-"+p.SHA256)
	same, err := p.installed(ctx, path)
	if err != nil || same {
		return path, err
	}
	packed, err := p.open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, packed.Close()) }()
	plain, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return "", err
	}
	defer plain.Close()
	return path, d.Stream(path, p.verified(ctx, plain), 0o755)
}

// installed tells whether the file is there, plain, executable and right.
func (p Program) installed(ctx context.Context, path string) (same bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode() != 0o755 {
		return false, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, p.verified(ctx, file))
	same = err == nil
	if ctx.Err() != nil {
		return false, errors.Join(ctx.Err(), file.Close())
	}
	return same, file.Close()
}

// Check runs the installed program and compares the version that it reports.
func (p Program) Check(ctx context.Context, r Runner, path string) error {
	out, err := r.Output(ctx, path, "version", "--json")
	if err != nil {
		return p.damaged(err)
	}
	var report struct {
		Version string `json:"version"`
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&report); err != nil {
		return p.damaged(err)
	}
	// A build from the module says 0.19.1 with words behind it.
	if got, _, _ := strings.Cut(report.Version, " "); got != p.Version {
		return p.damaged(fmt.Errorf("it reports version %q", report.Version))
	}
	return nil
}

func (p Program) damaged(cause error) error {
	return &Problem{ID: "backups.damaged", Args: map[string]string{"version": p.Version}, Err: cause}
}

func (p Program) verified(ctx context.Context, content io.Reader) io.Reader {
	return &verifier{ctx: ctx, content: io.LimitReader(content, maxProgram+1), hash: sha256.New(), program: p}
}

// verifier turns the end of content into an error unless it is the program.
type verifier struct {
	ctx     context.Context
	content io.Reader
	hash    hash.Hash
	program Program
}

// Read implements io.Reader.
func (v *verifier) Read(b []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.content.Read(b)
	v.hash.Write(b[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(v.hash.Sum(nil)) != v.program.SHA256 {
		err = v.program.damaged(errors.New("its SHA-256 is not the recorded one"))
	}
	return n, err
}
