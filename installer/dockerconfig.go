// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// dockerConfig adds to a daemon.json what the box needs and leaves everything
// else as its owner wrote it. A nil or empty file is an empty document.
func dockerConfig(before []byte) ([]byte, error) {
	doc := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(before)) > 0 {
		if err := json.Unmarshal(before, &doc); err != nil {
			return nil, fmt.Errorf("read /etc/docker/daemon.json: %w", err)
		}
	}
	// Containers go on while the engine is restarted or upgraded.
	doc["live-restore"] = json.RawMessage("true")
	if _, chosen := doc["log-driver"]; !chosen {
		doc["log-driver"] = json.RawMessage(`"json-file"`)
		if _, chosen := doc["log-opts"]; !chosen {
			doc["log-opts"] = json.RawMessage(`{"max-file": "3", "max-size": "10m"}`)
		}
	}
	after, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write /etc/docker/daemon.json: %w", err)
	}
	return append(after, '\n'), nil
}
