// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// load lets the Compose specification's own library read what was let through.
// It gets the checked values and not the text, so that two readers of YAML
// cannot understand one file differently; no environment, no files, no network.
func (r *composeReader) load(root *yaml.Node, project string) []Service {
	var config map[string]any
	if err := root.Decode(&config); err != nil {
		r.at(root.Line, "rejected", "reason", err.Error())
		return nil
	}
	if project == "" {
		project = "stack"
	}
	loaded, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  "/",
		ConfigFiles: []types.ConfigFile{{Filename: r.file, Config: config}},
		Environment: types.Mapping{},
	}, func(o *loader.Options) {
		o.SetProjectName(project, true)
		o.SkipInterpolation, o.SkipInclude, o.SkipExtends = true, true, true
		o.ResourceLoaders = nil
	})
	if err != nil {
		r.at(0, "rejected", "reason", strings.TrimPrefix(err.Error(), "validating "+r.file+": "))
		return nil
	}
	return r.convert(loaded)
}

func (r *composeReader) convert(project *types.Project) []Service {
	order, _ := startOrder(r.services, r.waits)
	services := make([]Service, 0, len(order))
	for _, name := range order {
		services = append(services, r.serviceOf(name, project.Services[name]))
	}
	return services
}

func (r *composeReader) serviceOf(name string, c types.ServiceConfig) Service {
	s := Service{
		Name:       name,
		Image:      c.Image,
		Entrypoint: c.Entrypoint,
		Command:    c.Command,
		Env:        map[string]string{},
		Mounts:     mountsOf(c.Volumes),
		Memory:     orDefault(int64(c.MemLimit), defaultMemory),
		CPUs:       orDefault(math.Round(float64(c.CPUS)*1000)/1000, defaultCPUs),
		PIDs:       orDefault(c.PidsLimit, defaultPIDs),
		Health:     healthOf(c.HealthCheck),
		DependsOn:  r.waits[name],
		StopGrace:  durationOr(c.StopGracePeriod, defaultGrace),
	}
	for key, value := range c.Environment {
		if value != nil {
			s.Env[key] = *value
		}
	}
	for _, text := range c.Tmpfs {
		if t, ok := parseTmpfs(text); ok {
			s.Tmpfs = append(s.Tmpfs, t)
		}
	}
	return s
}

func mountsOf(volumes []types.ServiceVolumeConfig) []Mount {
	mounts := make([]Mount, 0, len(volumes))
	for _, v := range volumes {
		mounts = append(mounts, Mount{Volume: v.Source, Target: v.Target, ReadOnly: v.ReadOnly})
	}
	return mounts
}

func healthOf(c *types.HealthCheckConfig) *Health {
	if c == nil {
		return nil
	}
	h := &Health{
		Test:        c.Test[1:],
		Interval:    durationOr(c.Interval, 10*time.Second),
		Timeout:     durationOr(c.Timeout, 5*time.Second),
		StartPeriod: durationOr(c.StartPeriod, 30*time.Second),
		Retries:     3,
	}
	if c.Retries != nil {
		h.Retries = int(min(*c.Retries, 20))
	}
	return h
}

func durationOr(d *types.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return time.Duration(*d)
}

func orDefault[N int64 | float64](value, otherwise N) N {
	if value == 0 {
		return otherwise
	}
	return value
}
