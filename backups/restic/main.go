// SPDX-License-Identifier: AGPL-3.0-or-later

// Command restic, in a module of its own that pins restic, packs a restic that
// was built from this module for embedding: it checks what the program says of
// its own build, compresses it, and names the result by version, architecture
// and SHA-256. It imports nothing of ours and runs only while Rochdale is built.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack restic:", err)
		os.Exit(1)
	}
}

// run packs PROGRAM into FOLDER, which then has no other restic for PROGRAM's
// architecture, and prints the name.
func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: restic PROGRAM FOLDER")
	}
	program, folder := args[0], args[1]
	version, arch, err := provenance(program)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	prefix := fmt.Sprintf("restic_%s_%s_", version, arch)
	name := filepath.Join(folder, fmt.Sprintf("%s%x.zst", prefix, sha256.Sum256(content)))
	packed, err := pack(content)
	if err != nil {
		return err
	}
	if err := removeOthers(folder, arch); err != nil {
		return err
	}
	if err := os.WriteFile(name, packed, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s  %d bytes, %d packed\n", filepath.Base(name), len(content), len(packed))
	return nil
}

// provenance reads version and architecture from the program itself and refuses
// builds that are not as this module makes them.
func provenance(program string) (version, arch string, err error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", "", err
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	restic := info.Main
	for _, dep := range info.Deps {
		if dep.Path == "github.com/restic/restic" {
			restic = *dep
		}
	}
	switch {
	case info.Path != "github.com/restic/restic/cmd/restic" || restic.Path != "github.com/restic/restic":
		return "", "", fmt.Errorf("%s is %s, not restic", program, info.Path)
	case settings["CGO_ENABLED"] != "0" || settings["GOOS"] != "linux":
		return "", "", fmt.Errorf("%s is not a static program for Linux", program)
	case settings["-tags"] != "disable_grpc_modules":
		return "", "", fmt.Errorf("%s has the build tags %q", program, settings["-tags"])
	}
	arch = settings["GOARCH"]
	if arch == "arm" {
		arch = "armv" + strings.Split(settings["GOARM"], ",")[0]
	}
	return strings.TrimPrefix(restic.Version, "v"), arch, nil
}

func pack(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20))
	if err != nil {
		return nil, err
	}
	_, err = w.Write(content)
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}

func removeOthers(folder, arch string) error {
	old, err := filepath.Glob(filepath.Join(folder, "restic_*_"+arch+"_*.zst"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
