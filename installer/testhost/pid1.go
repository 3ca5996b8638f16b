// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pid1 waits until the machine's systemd runs and returns its process id as the build machine numbers it.
func (m *Machine) pid1(ctx context.Context) (int, error) {
	for {
		m.mu.Lock()
		s := m.sup
		init := 0
		if s != nil {
			init = s.init
		}
		m.mu.Unlock()
		if init != 0 {
			return init, nil
		}
		if err := m.next(ctx); err != nil {
			return 0, fmt.Errorf("machine %s: %w", m.Name, err)
		}
	}
}

// look finds PID 1 among nspawn's children and records it.
func (m *Machine) look(ctx context.Context) error {
	m.mu.Lock()
	s := m.sup
	known := s == nil || s.init != 0 || s.spawn == 0
	spawn := 0
	if !known {
		spawn = s.spawn
	}
	m.mu.Unlock()
	if known {
		return nil
	}
	if init := findInit(spawn); init != 0 {
		return s.found(ctx, spawn, init)
	}
	return nil
}

// found records PID 1, unless it is known already or belongs to a former boot.
func (s *supervisor) found(ctx context.Context, spawn, init int) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.spawn != spawn || s.init != 0 {
		return nil
	}
	if s.m.memory > 0 {
		if err := s.m.showMeminfo(ctx, init); err != nil {
			return err
		}
	}
	s.init = init
	s.boots++
	s.m.signal()
	return nil
}

// findInit returns the child of nspawn that is number 1 in a namespace of its own and has become systemd; 0 if none is yet.
func findInit(spawn int) int {
	// The kernel lists children by thread; nspawn has one thread that forks.
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", spawn))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err == nil && isInit(string(status)) {
				return pid
			}
		}
	}
	return 0
}

// isInit reads /proc/PID/status: systemd by name, and 1 in the innermost process namespace, which is not the outermost.
func isInit(status string) bool {
	name, inner, depth := "", "", 0
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case key == "Name" && len(fields) > 0:
			name = fields[0]
		case key == "NSpid" && len(fields) > 0:
			inner, depth = fields[len(fields)-1], len(fields)
		}
	}
	return name == "systemd" && inner == "1" && depth > 1
}

// ShellCommand is what a person types on the build machine, as root, to look
// around in this machine. It is true until the machine restarts.
func (m *Machine) ShellCommand(ctx context.Context) (string, error) {
	init, err := m.pid1(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("nsenter -a -t %d bash", init), nil
}
