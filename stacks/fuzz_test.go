// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/tools/txtar"
)

// seeds are the files of all stacks here, good and bad.
func seeds(f *testing.F, name string) {
	f.Helper()
	paths, err := filepath.Glob("*/*/" + name)
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == name {
				f.Add(string(file.Data))
			}
		}
	}
}

func FuzzManifest(f *testing.F) {
	seeds(f, ManifestFile)
	f.Add(goodManifest)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseManifest([]byte(text))
		if err != nil {
			wantProblems(t, err)
			return
		}
		if m.Name == "" || m.Version == "" || m.Title["en"] == "" || m.User < 1000 || m.Web.Port < 1 || m.Needs.Memory == 0 {
			t.Fatalf("accepted %+v", m)
		}
		for _, path := range []string{m.Settings, m.Migrations.Dir, m.Databases["main"].Path} {
			if strings.HasPrefix(path, "/") || strings.Contains(path, "..") && !filepath.IsLocal(path) {
				t.Fatalf("accepted the path %q", path)
			}
		}
	})
}

// FuzzCompose wants that whatever is let through means the same to the Compose
// specification's own loader, which also validates it by the JSON schema.
func FuzzCompose(f *testing.F) {
	seeds(f, ComposeFile)
	f.Add(goodCompose)
	f.Fuzz(func(t *testing.T, text string) {
		c := &composeReader{document: document{file: ComposeFile, lines: map[string]int{}}}
		got := c.read(folder("", text))
		if err := invalid(c.problems); err != nil {
			wantProblems(t, err)
			return
		}
		compare(t, text, got)
	})
}

func wantProblems(t *testing.T, err error) {
	t.Helper()
	var bad *Invalid
	if !errors.As(err, &bad) || len(bad.Problems) == 0 || len(err.Error()) == 0 {
		t.Fatalf("error %v", err)
	}
}

// compare loads the text again, in the library's own way from the first byte.
func compare(t *testing.T, text string, got []Service) {
	t.Helper()
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  "/nowhere",
		ConfigFiles: []types.ConfigFile{{Filename: ComposeFile, Content: []byte(text)}},
		Environment: types.Mapping{},
	}, func(o *loader.Options) {
		o.SetProjectName("stack", true)
		o.SkipInterpolation = true
	})
	if err != nil {
		t.Fatalf("accepted what the specification refuses: %v\n%s", err, text)
	}
	if len(project.Services) != len(got) {
		t.Fatalf("%d services here, %d there", len(got), len(project.Services))
	}
	for _, s := range got {
		compareService(t, s, project.Services[s.Name])
	}
}

func compareService(t *testing.T, s Service, want types.ServiceConfig) {
	t.Helper()
	env := map[string]string{}
	for name, value := range want.Environment {
		env[name] = *value
	}
	same := s.Image == want.Image && slices.Equal(s.Command, want.Command) && slices.Equal(s.Entrypoint, want.Entrypoint) &&
		maps.Equal(s.Env, env) && len(s.Mounts) == len(want.Volumes) && len(s.Tmpfs) == len(want.Tmpfs) &&
		(want.MemLimit == 0 || s.Memory == int64(want.MemLimit)) && (want.PidsLimit == 0 || s.PIDs == want.PidsLimit)
	same = same && s.StopSignal == want.StopSignal
	for i, m := range want.Volumes {
		same = same && m.Type == "volume" && s.Mounts[i] == Mount{m.Source, m.Target, m.ReadOnly}
	}
	for name := range want.DependsOn {
		same = same && slices.Contains(s.DependsOn, name)
	}
	if want.HealthCheck != nil {
		same = same && slices.Equal(append([]string{"CMD"}, s.Health.Test...), want.HealthCheck.Test)
	}
	safe := !want.Privileged && want.User == "" && want.NetworkMode == "" && len(want.Ports)+len(want.Devices)+len(want.CapAdd) == 0 &&
		want.Build == nil && s.Memory >= minMemory && s.CPUs > 0 && s.PIDs > 0 && s.StopGrace > 0
	if !same || !safe {
		t.Fatalf("got %+v, the library has %+v", s, want)
	}
}
