// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"

	"rochdale/appliance"
	"rochdale/stacks"
)

// oomScore makes the kernel end a container before anything of the machine's own.
const oomScore = 300

// recipe is what the engine is told to make one container.
type recipe struct {
	Config  *container.Config
	Host    *container.HostConfig
	Network *network.NetworkingConfig
}

// cook makes the recipe. All that locks the container in is here and in the
// golden file of its test. cpus is how many processors the machine has: the
// engine refuses a limit above it.
func cook(s appliance.ContainerSpec, cpus int) (recipe, error) {
	if err := check(s); err != nil {
		return recipe{}, err
	}
	mounts, err := mounts(s)
	if err != nil {
		return recipe{}, err
	}
	r := recipe{Config: config(s), Host: hostConfig(s, cpus), Network: networking(s)}
	r.Host.Mounts = mounts
	hash, err := r.hash()
	if err != nil {
		return recipe{}, err
	}
	r.Config.Labels[labelSpec] = hash
	return r, nil
}

// check refuses what a validated stack can not ask for: it would be a mistake
// of ours, and the engine would take it without a word.
func check(s appliance.ContainerSpec) error {
	svc := s.Service
	switch {
	case !appliance.StackName(s.Stack):
		return fmt.Errorf("container of stack %q: not a stack's name", s.Stack)
	case !serviceForm.MatchString(svc.Name):
		return fmt.Errorf("container of service %q: not a service's name", svc.Name)
	case !suffixForm.MatchString(s.Suffix):
		return fmt.Errorf("container of service %s: the suffix %q is not six letters or digits", svc.Name, s.Suffix)
	case s.User <= 0:
		return fmt.Errorf("container of service %s: it would run as root", svc.Name)
	case svc.Memory <= 0 || svc.CPUs <= 0 || svc.PIDs <= 0:
		return fmt.Errorf("container of service %s: without a limit of memory, processor or processes", svc.Name)
	case s.Image == "":
		return fmt.Errorf("container of service %s: without an image", svc.Name)
	}
	return nil
}

func config(s appliance.ContainerSpec) *container.Config {
	stop := int(s.Service.StopGrace.Seconds())
	return &container.Config{
		Hostname:    hostname(s),
		User:        fmt.Sprintf("%d:%d", s.User, s.User),
		Env:         env(s),
		Cmd:         s.Service.Command,
		Entrypoint:  s.Service.Entrypoint,
		Image:       s.Image,
		Healthcheck: healthcheck(s),
		StopSignal:  s.Service.StopSignal, // the engine takes the image's for none, and else SIGTERM
		StopTimeout: &stop,
		Labels:      labels(s),
	}
}

func hostConfig(s appliance.ContainerSpec, cpus int) *container.HostConfig {
	none := false
	return &container.HostConfig{
		NetworkMode:    container.NetworkMode(NetworkName(s.Stack)),
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		IpcMode:        container.IPCModePrivate,
		CgroupnsMode:   container.CgroupnsModePrivate,
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig:      container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
		OomScoreAdj:    oomScore,
		Tmpfs:          tmpfs(s),
		Init:           &none, // our services are good first processes: they take their signal and wait for their children
		Resources:      limits(s.Service, cpus),
	}
}

func limits(svc stacks.Service, cpus int) container.Resources {
	return container.Resources{
		Memory:     svc.Memory,
		MemorySwap: svc.Memory, // the same: no swap
		NanoCPUs:   int64(min(svc.CPUs, float64(cpus)) * 1e9),
		PidsLimit:  &svc.PIDs,
		Ulimits: []*container.Ulimit{
			{Name: "core", Soft: 0, Hard: 0},
			{Name: "nofile", Soft: 16384, Hard: 16384},
		},
	}
}

// hostname is left to the engine for a container that nobody is to find: newer
// engines resolve it for the other containers.
func hostname(s appliance.ContainerSpec) string {
	if s.Once {
		return ""
	}
	return s.Service.Name
}

func networking(s appliance.ContainerSpec) *network.NetworkingConfig {
	e := &network.EndpointSettings{}
	if !s.Once {
		e.Aliases = []string{s.Service.Name}
	}
	return &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{NetworkName(s.Stack): e}}
}

func env(s appliance.ContainerSpec) []string {
	all := maps.Clone(s.Service.Env)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, s.Env)
	list := make([]string, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		list = append(list, k+"="+all[k])
	}
	return list
}

func labels(s appliance.ContainerSpec) map[string]string {
	l := map[string]string{
		labelSchema:     schema,
		labelStack:      s.Stack,
		labelService:    s.Service.Name,
		labelDigest:     s.Digest,
		labelGeneration: strconv.FormatInt(s.Generation, 10),
	}
	if p := probeLabel(s.Probe); p != "" && !s.Once {
		l[labelProbe] = p
	}
	return l
}

func tmpfs(s appliance.ContainerSpec) map[string]string {
	m := make(map[string]string, len(s.Service.Tmpfs))
	for _, t := range s.Service.Tmpfs {
		m[t.Target] = fmt.Sprintf("rw,noexec,nosuid,nodev,mode=0700,uid=%d,gid=%d,size=%d", s.User, s.User, t.Size)
	}
	return m
}

func healthcheck(s appliance.ContainerSpec) *container.HealthConfig {
	h := s.Service.Health
	switch {
	case s.Once:
		return &container.HealthConfig{Test: []string{"NONE"}}
	case h == nil:
		return nil
	}
	return &container.HealthConfig{
		// Docker wants the form before the program; stacks allow no other.
		Test: append([]string{"CMD"}, h.Test...), Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries,
	}
}

// mounts binds the stack's volumes and the secrets that it was given; nothing
// else of the machine is ever seen inside.
func mounts(s appliance.ContainerSpec) ([]mount.Mount, error) {
	var all []mount.Mount
	for _, m := range s.Service.Mounts {
		dir, ok := s.Volumes[m.Volume]
		if !ok || !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("container of service %s: no folder for volume %q", s.Service.Name, m.Volume)
		}
		all = append(all, bind(dir, m.Target, m.ReadOnly))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		file := s.Secrets[name]
		if !filepath.IsAbs(file) || path.Base(name) != name || name == "." || name == ".." {
			return nil, fmt.Errorf("container of service %s: secret %q is not a file", s.Service.Name, name)
		}
		all = append(all, bind(file, "/run/secrets/"+name, true))
	}
	return all, nil
}

func bind(source, target string, readOnly bool) mount.Mount {
	return mount.Mount{
		Type: mount.TypeBind, Source: source, Target: target, ReadOnly: readOnly,
		// What is mounted on the machine later must not appear inside.
		BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate},
	}
}

func (r recipe) hash() (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("describe a container: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}
