// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// Force is what a person insists on.
type Force struct {
	Bad   bool // take a program that is marked bad
	Older bool // take a program that is older than the one that runs
}

// Bring copies a program from a file into the incoming folder and looks at the
// copy, which nobody but root can change any more: is it ours, for this machine,
// and may it run? It is not on trial yet.
func (s Self) Bring(ctx context.Context, file string, f Force) (Build, error) {
	digest, err := s.takeIn(file)
	if err != nil {
		return Build{}, errors.Join(err, s.Discard())
	}
	b, err := s.examine(ctx, file, digest)
	if err == nil {
		err = s.admit(b, f)
	}
	if err != nil {
		return b, errors.Join(err, s.Discard())
	}
	return b, nil
}

// Discard forgets a program that was brought and is not wanted.
func (s Self) Discard() error { return s.Files.RemoveFolder(s.versions(incoming)) }

// takeIn copies the file and gives the digest of the copy.
func (s Self) takeIn(file string) (digest string, err error) {
	source, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", appliance.Problem("self.no-file", err, "file", file).WithCode(appliance.ExitUsage)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	info, err := source.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxProgram {
		return "", notOurs(file, fmt.Errorf("%s, %d bytes", info.Mode(), info.Size()))
	}
	if err := errors.Join(s.Discard(), s.Files.MkdirAll(s.versions(incoming), host.Attr{Mode: publicDir, UID: os.Geteuid(), GID: os.Getegid()})); err != nil {
		return "", err
	}
	h := sha256.New()
	content := io.TeeReader(io.LimitReader(source, maxProgram), h)
	err = s.Files.WriteFrom(s.binary(incoming), content, host.Attr{Mode: publicDir, UID: os.Geteuid(), GID: os.Getegid()})
	if errors.Is(err, syscall.ENOSPC) {
		err = appliance.Problem("install.disk-filled", err, "detail", cause(err))
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

func notOurs(file string, err error) error {
	return appliance.Problem("self.not-ours", err, "file", file)
}

// cause leaves out the path that an error of the file system begins with.
func cause(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return err.Error()
}

// mainPackage is what our program is built from; the compiler writes it in.
const mainPackage = "rochdale/cmd/rochdale"

// examine reads what the copy says of itself, and then lets it say its version.
func (s Self) examine(ctx context.Context, file, digest string) (Build, error) {
	info, err := buildinfo.ReadFile(s.binary(incoming))
	if err != nil {
		return Build{}, notOurs(file, errors.New("it is no program that Go has built"))
	}
	if info.Path != mainPackage {
		return Build{}, notOurs(file, fmt.Errorf("it was built from %q", info.Path))
	}
	for _, o := range info.Settings {
		if want := map[string]string{"GOOS": runtime.GOOS, "GOARCH": runtime.GOARCH}[o.Key]; want != "" && o.Value != want {
			return Build{}, appliance.Problem("self.other-machine", nil, "file", file, "found", o.Value, "want", want)
		}
	}
	version, err := s.askVersion(ctx)
	if err != nil {
		return Build{}, appliance.Problem("self.does-not-run", err, "file", file, "detail", err)
	}
	return Build{Version: version, Program: version + "-" + digest[:shortDigest]}, nil
}

// versionForm is what may become the name of a folder.
var versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~-]{0,63}$`)

// askVersion runs the copy for the first time: as nobody, with nothing to see or
// to write, and not for long.
func (s Self) askVersion(ctx context.Context) (string, error) {
	r, err := s.systemd().RunTransient(ctx, host.Transient{
		Unit: "rochdale-self-look.service", Properties: lockedIn(), Name: s.binary(incoming), Args: []string{"version", "--json"},
		Env: []string{"GOMEMLIMIT=192MiB"},
	})
	if err != nil {
		return "", err
	}
	var said struct{ Version string }
	if err := json.Unmarshal(r.Stdout, &said); err != nil {
		return "", fmt.Errorf("it does not tell its version: %w", err)
	}
	if !versionForm.MatchString(said.Version) {
		return "", fmt.Errorf("it has no version: %.40q", said.Version)
	}
	return said.Version, nil
}

// lookTime is how long a program may take to say its version, on a slow card too.
const lookTime = time.Minute

func lockedIn() []string {
	return []string{
		"Description=Rochdale looks at a new version",
		"DynamicUser=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "PrivateNetwork=yes",
		"InaccessiblePaths=-/var/lib/rochdale -/etc/rochdale -/var/lib/docker -/run/rochdale -/run/rochdale-edge",
		"ProtectClock=yes", "ProtectHostname=yes", "ProtectKernelLogs=yes", "ProtectKernelModules=yes", "ProtectKernelTunables=yes",
		"ProtectControlGroups=yes", "ProtectProc=invisible", "CapabilityBoundingSet=", "NoNewPrivileges=yes", "LockPersonality=yes",
		"MemoryDenyWriteExecute=yes", "RestrictAddressFamilies=AF_UNIX", "RestrictNamespaces=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes",
		"SystemCallArchitectures=native", "SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM", "UMask=0077", "LimitCORE=0",
		"TasksMax=64", "MemoryMax=256M", "RuntimeMaxSec=" + strconv.Itoa(int(lookTime.Seconds())), "TimeoutStopSec=5",
	}
}

// admit judges the build against what runs and what is known of it.
func (s Self) admit(b Build, f Force) error {
	l, err := s.Ledger()
	if err != nil {
		return err
	}
	if l.Trial != nil {
		return busy(l.Trial)
	}
	return admit(b, s.Current(), l, f)
}

func admit(b, current Build, l Ledger, f Force) error {
	bad, marked := l.Bad[b.Program]
	switch {
	case b.Program == current.Program:
		return appliance.Problem("self.same", nil, "version", b.Version)
	case marked && !f.Bad:
		e := appliance.Problem("self.bad", nil, "version", b.Version, "date", bad.At.UTC().Format(time.DateOnly))
		e.Places = []appliance.Place{{Message: bad.Reason}}
		return e
	case versionLess(b.Version, current.Version) && !f.Older:
		return appliance.Problem("self.older", nil, "version", b.Version, "current", current.Version)
	}
	return nil
}

// whole tells whether the program is there and is what its name says.
func (d Deps) whole(program string) bool {
	digest, _, err := digestOf(d.binary(program))
	return err == nil && strings.HasSuffix(program, "-"+digest[:shortDigest])
}

// settle gives the incoming program its name. One that is there already, from an
// earlier time or for a rollback, stays.
func (s Self) settle(program string) error {
	if s.whole(program) {
		return s.Discard() // it is the same
	}
	if _, err := os.Stat(s.binary(incoming)); err != nil {
		return appliance.Problem("self.damaged", err, "version", buildOf(program).Version)
	}
	if err := s.Files.RemoveFolder(s.versions(program)); err != nil {
		return err
	}
	if err := s.Files.Disk.Rename(s.versions(incoming), s.versions(program)); err != nil {
		return fmt.Errorf("put %s in place: %w", program, err)
	}
	return s.Files.Disk.SyncDir(s.versions())
}

// Previous is the build that ran before the one of now.
func (s Self) Previous() (Build, error) {
	l, err := s.Ledger()
	if err != nil {
		return Build{}, err
	}
	if l.Trial != nil {
		return Build{}, busy(l.Trial)
	}
	for _, c := range slices.Backward(l.Past) {
		if c.Outcome != Proven || c.To.Program != s.Current().Program {
			continue
		}
		if !s.whole(c.From.Program) {
			return Build{}, appliance.Problem("self.damaged", nil, "version", c.From.Version)
		}
		return c.From, nil
	}
	return Build{}, appliance.Problem("self.no-previous", nil)
}

// readJSON reads one document that may not be larger than limit bytes.
func readJSON(from io.Reader, limit int64, into any) error {
	data, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > limit {
		return fmt.Errorf("it is larger than %d bytes", limit)
	}
	return json.Unmarshal(data, into)
}

// OnTrial tells whether the program in the file is the one on trial; another one
// on trial is an error.
func (s Self) OnTrial(file string) (t Trial, same bool, err error) {
	l, err := s.Ledger()
	if err != nil || l.Trial == nil {
		return t, false, err
	}
	digest, _, err := digestOf(file)
	if err == nil && strings.HasSuffix(l.Trial.To.Program, "-"+digest[:shortDigest]) {
		return *l.Trial, true, nil
	}
	return t, false, busy(l.Trial)
}
