// SPDX-License-Identifier: AGPL-3.0-or-later

package box

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// containers reduces the engine's list to a line a container, without what is
// random: its id, its address, its times and the suffix of its name.
func containers(list string) (string, error) {
	var all []struct {
		Names        []string
		ImageID      string
		State        string
		Labels       map[string]string
		Mounts       []struct{ Source, Destination string }
		HostConfig   struct{ NetworkMode string }
		RestartCount int
	}
	if err := json.Unmarshal([]byte(list), &all); err != nil {
		return "", fmt.Errorf("read the engine's list of containers: %w: %s", err, tail(list))
	}
	var lines []string
	for _, c := range all {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
			if strings.HasPrefix(k, "coop.rochdale.") && !strings.HasSuffix(k, ".suffix") {
				labels = append(labels, k+"="+c.Labels[k])
			}
		}
		name := strings.TrimPrefix(strings.Join(c.Names, ","), "/")
		if cut := strings.LastIndex(name, "-"); cut > 0 {
			name = name[:cut]
		}
		lines = append(lines, fmt.Sprint(name, " ", c.ImageID, " ", c.State, " ", c.HostConfig.NetworkMode, " ", labels, " ", c.Mounts))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}
