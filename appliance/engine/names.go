// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"rochdale/appliance"
)

// Labels on everything of ours. What does not carry them is never touched.
const (
	labelSchema     = "coop.rochdale.schema"
	labelStack      = "coop.rochdale.stack"
	labelService    = "coop.rochdale.service"
	labelDigest     = "coop.rochdale.digest"
	labelGeneration = "coop.rochdale.generation"
	labelProbe      = "coop.rochdale.probe"
	labelSpec       = "coop.rochdale.spec" // hash of what it was made from
	schema          = "1"
)

// repository is where our images lie in the engine. The name can never
// resolve, so that no engine can fetch one of them from elsewhere.
const repository = "rochdale.invalid/"

var (
	serviceForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,40}[a-z0-9])?$`)
	suffixForm  = regexp.MustCompile(`^[a-z0-9]{6}$`)
	imageNoise  = regexp.MustCompile(`[^a-z0-9]+`)
)

// ContainerName is the name of a container of ours.
func ContainerName(stack, service, suffix string) string {
	return "rochdale-" + stack + "-" + service + "-" + suffix
}

// NetworkName is the name of a stack's network.
func NetworkName(stack string) string { return "rochdale-" + stack }

// BridgeName is the network interface of a stack's network: at most 15 bytes,
// and the same on each machine, so that a firewall can name it.
func BridgeName(stack string) string {
	sum := sha256.Sum256([]byte(stack))
	return "rd-" + hex.EncodeToString(sum[:5])
}

// imageRef names an image of ours by what is in it.
func imageRef(img appliance.Image) string {
	sum := sha256.Sum256([]byte(img.ConfigDigest + "\n" + strings.Join(img.DiffIDs, "\n")))
	name := strings.Trim(imageNoise.ReplaceAllString(strings.ToLower(img.Name), "-"), "-")
	if len(name) > 60 {
		name = strings.Trim(name[:60], "-")
	}
	if name == "" {
		name = "image"
	}
	return repository + name + ":" + hex.EncodeToString(sum[:8])
}

func probeLabel(p appliance.Probe) string {
	if p.Port == 0 {
		return ""
	}
	return strconv.Itoa(p.Port) + p.Path
}

func parseProbe(label string) (appliance.Probe, error) {
	port, path, _ := strings.Cut(label, "/")
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return appliance.Probe{}, fmt.Errorf("label %s=%q is not a port and a path", labelProbe, label)
	}
	return appliance.Probe{Port: n, Path: "/" + path}, nil
}
