// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"rochdale/stacks"
	"rochdale/stacks/bundle"
	"rochdale/stacks/bundle/image"
)

func newBundleCommand(s streams) *cobra.Command {
	c := &cobra.Command{Use: "bundle", Short: "Build and show bundles"}
	c.AddCommand(newBundleBuildCommand(s), newBundleThinCommand(s))
	return c
}

func newBundleBuildCommand(s streams) *cobra.Command {
	var o buildOptions
	c := &cobra.Command{
		Use:   "build FOLDER --program IMAGE:ARCH=FILE... --image IMAGE:ARCH=FILE... --output FILE",
		Short: "Check a stack and make one bundle of it, with images of static programs and of third parties",
		Args:  oneArgument,
		RunE: func(c *cobra.Command, args []string) error {
			o.folder = args[0]
			return buildBundle(c.Context(), s, o)
		},
	}
	c.Flags().StringArrayVar(&o.programs, "program", nil, "static program that becomes an image, as in coop:amd64=coop-amd64; once for each architecture")
	c.Flags().StringArrayVar(&o.images, "image", nil, "archive of an image, from docker save or an OCI layout as a tar file, as in db:amd64=postgres.tar; once for each architecture")
	c.Flags().StringVar(&o.output, "output", "", "file to write the bundle to")
	return c
}

func newBundleThinCommand(s streams) *cobra.Command {
	var arch, output string
	c := &cobra.Command{
		Use:   "thin BUNDLE --arch ARCH --output FILE",
		Short: "Copy a bundle with the images of one architecture only; its digest stays",
		Args:  oneArgument,
		RunE: func(c *cobra.Command, args []string) error {
			return thinBundle(c.Context(), s, args[0], thinOptions{arch, output})
		},
	}
	c.Flags().StringVar(&arch, "arch", "", "amd64, arm64 or armv7")
	c.Flags().StringVar(&output, "output", "", "file to write the bundle to")
	return c
}

func oneArgument(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%w: one argument is needed, %d were given", errUsage, len(args))
	}
	return nil
}

type buildOptions struct {
	folder   string
	programs []string
	images   []string
	output   string
}

func buildBundle(ctx context.Context, s streams, o buildOptions) error {
	stack, err := stacks.Parse(os.DirFS(o.folder))
	if err != nil {
		return err
	}
	images, err := o.allImages(stack.Manifest.User)
	if err != nil {
		return err
	}
	return writeFile(s, o.output, func(w io.Writer) (string, error) {
		return bundle.Build(ctx, os.DirFS(o.folder), images, w)
	})
}

// allImages makes the images of programs and takes those of archives.
func (o buildOptions) allImages(user int) ([]bundle.Image, error) {
	images := make([]bundle.Image, 0, len(o.programs)+len(o.images))
	for _, text := range o.programs {
		g, err := parseGiven("--program", text)
		if err != nil {
			return nil, err
		}
		made, err := image.Make(image.Program{Name: g.name, Arch: g.arch, File: g.file, User: user})
		if err != nil {
			return nil, err
		}
		images = append(images, made)
	}
	for _, text := range o.images {
		g, err := parseGiven("--image", text)
		if err != nil {
			return nil, err
		}
		taken, err := image.Import(image.Foreign{Name: g.name, Arch: g.arch, File: g.file})
		if err != nil {
			return nil, err
		}
		images = append(images, taken)
	}
	return images, nil
}

// given is a file that becomes an image for one architecture.
type given struct{ name, arch, file string }

// parseGiven reads IMAGE:ARCH=FILE.
func parseGiven(flag, text string) (given, error) {
	what, file, ok := strings.Cut(text, "=")
	name, arch, both := strings.Cut(what, ":")
	if !ok || !both || name == "" || arch == "" || file == "" {
		return given{}, fmt.Errorf("%w: %s %s: write IMAGE:ARCH=FILE, as in coop:amd64=coop-amd64", errUsage, flag, text)
	}
	return given{name, arch, file}, nil
}

type thinOptions struct{ arch, output string }

func thinBundle(ctx context.Context, s streams, from string, o thinOptions) (err error) {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return writeFile(s, o.output, func(w io.Writer) (string, error) {
		return bundle.Thin(ctx, file, o.arch, w)
	})
}

// writeFile makes the output whole or not at all and prints digest, size and
// name. It is no box's state: what counts here is that no half bundle is taken
// for a whole one by the next command.
func writeFile(s streams, path string, write func(io.Writer) (string, error)) error {
	if path == "" {
		return fmt.Errorf("%w: --output is missing", errUsage)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".rochdale-hub-*")
	if err != nil {
		return err
	}
	digest, err := write(temp)
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s  %d bytes  %s\n", digest, info.Size(), path)
	return err
}
