// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"testing"
)

func TestDescribe(t *testing.T) {
	packed, want := build(t)
	s, digest, err := Describe(t.Context(), bytes.NewReader(packed))
	if err != nil || digest != want || s.Manifest.Name != "small" || len(s.Services) != 1 {
		t.Errorf("got %+v, %s, %v", s, digest, err)
	}
	if _, _, err := Describe(t.Context(), bytes.NewReader(packed[:40])); err == nil {
		t.Error("a cut bundle was described")
	}
}
