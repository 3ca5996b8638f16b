// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"math"
	"reflect"
	"time"

	"github.com/compose-spec/compose-go/v2/transform"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/go-viper/mapstructure/v2"
	"go.yaml.in/yaml/v3"
)

// load lets the Compose specification's own library read what was let through:
// its canonical form and its types. It gets the checked values and not the
// text, so that two readers of YAML cannot understand one file differently; no
// environment, no files, no network. The library's loader and its JSON schema
// are left to the tests, which compare: they would cost every start of every
// program 10 ms and 1.7 MB, and the lists of what is allowed are narrower.
func (r *composeReader) load(root *yaml.Node) []Service {
	var config map[string]any
	if err := root.Decode(&config); err != nil {
		r.at(root.Line, "rejected", "reason", err.Error())
		return nil
	}
	var project struct {
		Services map[string]types.ServiceConfig `yaml:"services"`
	}
	canonical, err := transform.Canonical(config, true)
	if err == nil {
		err = decodeTypes(canonical, &project)
	}
	if err != nil {
		r.at(0, "rejected", "reason", err.Error())
		return nil
	}
	order, _ := startOrder(r.services, r.waits)
	services := make([]Service, 0, len(order))
	for _, name := range order {
		services = append(services, r.serviceOf(name, project.Services[name]))
	}
	return services
}

// decodeTypes fills the library's types, which know how to read themselves.
func decodeTypes(from map[string]any, into any) error {
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		DecodeHook: readItself, Result: into, TagName: "yaml", Squash: true,
	})
	if err != nil {
		return err
	}
	return decoder.Decode(from)
}

func readItself(from, to reflect.Value) (any, error) {
	if to.Kind() == reflect.Pointer && to.IsNil() {
		to.Set(reflect.New(to.Type().Elem()))
	}
	target := to
	if to.Kind() != reflect.Pointer && to.CanAddr() {
		target = to.Addr()
	}
	reader, ok := target.Interface().(interface{ DecodeMapstructure(any) error })
	if !ok {
		return from.Interface(), nil
	}
	err := reader.DecodeMapstructure(from.Interface())
	return to.Interface(), err
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
		StopSignal: c.StopSignal,
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
