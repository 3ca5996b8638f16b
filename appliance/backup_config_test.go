// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import "testing"

// TestRepositoriesThatCanNotBe: the reason is named, and not only the value.
func TestRepositoriesThatCanNotBe(t *testing.T) {
	for name, c := range map[string]struct {
		repository, url, want string
	}{
		"the box's own name": {"box", "sftp:rides@backup.example:/srv/rides", "config.repository-name"},
		"somewhere else":     {"disk", "/home/rides", "config.repository-place"},
		"no address":         {"offsite", "ftp://backup.example", "config.value"},
		"a disk":             {"disk", "/mnt/disk/rides", ""},
	} {
		err := BackupsConfig{Repositories: map[string]RepositoryConfig{c.repository: {URL: c.url}}}.validate()
		if c.want == "" && err != nil || c.want != "" && (!IsProblem(err, c.want) || ExitCode(err) != ExitUsage) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestMigrationOfACopy is not told as if a part of it stayed.
func TestMigrationOfACopy(t *testing.T) {
	err := ofCopy(Problem("migrate.failed", nil, "stack", "delivery", "file", "2.sql"))
	if !IsProblem(err, "migrate.copy-not-changed") || MessageOf(err).Args["file"] != "2.sql" {
		t.Error(err)
	}
	if other := Problem("migrate.busy", nil); !IsProblem(ofCopy(other), "migrate.busy") {
		t.Error(ofCopy(other))
	}
}
