// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ConfigSchema is the version of rochdale.yaml that this binary writes.
const ConfigSchema = 1

// Config is rochdale.yaml: the one document that an operator edits. Secrets
// are files beside it.
type Config struct {
	Schema   int                    `yaml:"schema"`
	Language string                 `yaml:"language"` // en, es or fr
	Email    string                 `yaml:"email,omitempty"`
	TLS      TLSConfig              `yaml:"tls"`
	Stacks   map[string]StackConfig `yaml:"stacks"`
	Updates  UpdatesConfig          `yaml:"updates"`
	Backups  BackupsConfig          `yaml:"backups,omitempty"`
}

// BackupsConfig is about the copies of everything.
type BackupsConfig struct {
	// Repositories are those beside the one on the box itself, by name.
	Repositories map[string]RepositoryConfig `yaml:"repositories,omitempty"`
}

// RepositoryConfig is where a repository is. Its password and the credentials of
// the other side are files beside the document: backups/NAME.password and
// backups/NAME.env.
type RepositoryConfig struct {
	URL     string   `yaml:"url"`
	Options []string `yaml:"options,omitempty"` // restic's own
	// AppendOnly is for a place that lets the box add and not delete.
	AppendOnly bool `yaml:"append_only,omitempty"`
}

// RootPath is where, over HTTP, a box with its own authority offers the root
// certificate that browsers need.
const RootPath = "/rochdale-root.crt"

// TLSConfig is how the edge gets certificates.
type TLSConfig struct {
	Mode     string `yaml:"mode"`                // acme or internal
	ACMECA   string `yaml:"acme_ca,omitempty"`   // directory address; empty: Let's Encrypt
	ACMERoot string `yaml:"acme_root,omitempty"` // PEM file that the authority's own HTTPS is trusted by
}

// StackConfig is what the operator says of one stack.
type StackConfig struct {
	Domain  string   `yaml:"domain"`
	Aliases []string `yaml:"aliases,omitempty"` // names that only point to Domain
	Name    string   `yaml:"name,omitempty"`    // what the co-op calls itself; empty: the stack's title
}

// UpdatesConfig is about the operating system's security updates.
type UpdatesConfig struct {
	// Reboot is when the machine may restart for them, "03:30", or "never".
	Reboot string `yaml:"reboot"`
}

// Hosts are all host names of the stack, the domain first.
func (s StackConfig) Hosts() []string { return append([]string{s.Domain}, s.Aliases...) }

// URL is where people reach a stack, empty for one that is not configured.
func (c Config) URL(stack string) string {
	entry, ok := c.Stacks[stack]
	if !ok {
		return ""
	}
	return "https://" + entry.Domain
}

// MaxAliases bounds the names that point to a stack: each wants a certificate,
// and authorities give only so many a week.
const MaxAliases = 20

// MaxConfig bounds the size of rochdale.yaml, in bytes.
const MaxConfig = 256 << 10

// ParseConfig reads rochdale.yaml strictly: an unknown key, a wrong type or a
// value that can not be is an [*Error] that names it.
func ParseConfig(r io.Reader) (Config, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxConfig+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	if len(data) > MaxConfig {
		return Config{}, Problem("config.too-large", nil, "limit", MaxConfig).WithCode(ExitUsage)
	}
	c := Config{Language: "en", TLS: TLSConfig{Mode: "acme"}, Updates: UpdatesConfig{Reboot: "03:30"}}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		return Config{}, Problem("config.syntax", nil, "detail", yamlInWords(err)).WithCode(ExitUsage)
	}
	return c, c.Validate()
}

// What the YAML reader says names types of this program, which tell nobody anything.
var (
	yamlUnknown = regexp.MustCompile(`field (\S+) not found in type \S+`)
	yamlWrong   = regexp.MustCompile("cannot unmarshal !!\\w+(?: `([^`]*)`)? into \\S+")
)

func yamlInWords(err error) string {
	said := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:\n  ")
	s := yamlUnknown.ReplaceAllString(said, `"$1" is not known here`)
	return yamlWrong.ReplaceAllString(s, `"$1" is not what belongs here`)
}

// Encode renders the configuration as it is kept on the disk.
func (c Config) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(c), e.Close()); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	return b.Bytes(), nil
}

// Validate reports the first value that can not be.
func (c Config) Validate() error {
	switch {
	case c.Schema > ConfigSchema || c.Schema < 1:
		return Problem("config.schema", nil, "schema", c.Schema, "known", ConfigSchema).WithCode(ExitUsage)
	case !slices.Contains([]string{"en", "es", "fr"}, c.Language):
		return invalidValue("language", c.Language, "en, es, fr")
	case c.Email != "" && !emailForm.MatchString(c.Email):
		return invalidValue("email", c.Email, "ada@rides.example")
	case !rebootForm.MatchString(c.Updates.Reboot):
		return invalidValue("updates.reboot", c.Updates.Reboot, "03:30, never")
	}
	if err := c.TLS.validate(); err != nil {
		return err
	}
	if err := c.Backups.validate(); err != nil {
		return err
	}
	return c.validateStacks()
}

func (t TLSConfig) validate() error {
	if t.Mode != "acme" && t.Mode != "internal" {
		return invalidValue("tls.mode", t.Mode, "acme, internal")
	}
	if t.ACMECA == "" {
		return nil
	}
	if u, err := url.Parse(t.ACMECA); err != nil || u.Scheme != "https" || u.Host == "" {
		return invalidValue("tls.acme_ca", t.ACMECA, "https://ca.example/directory")
	}
	return nil
}

func (c Config) validateStacks() error {
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Stacks)) {
		if !StackName(name) || IsDrill(name) {
			return invalidValue("stacks", name, "delivery")
		}
		if n := len(c.Stacks[name].Aliases); n > MaxAliases {
			return Problem("config.too-many-aliases", nil, "stack", name, "count", n, "limit", MaxAliases).WithCode(ExitUsage)
		}
		for _, h := range c.Stacks[name].Hosts() {
			if !HostName(h) {
				return invalidValue("stacks."+name+".domain", h, "rides.example")
			}
			if other, taken := owner[h]; taken {
				return Problem("config.host-twice", nil, "host", h, "stack", name, "other", other).WithCode(ExitUsage)
			}
			owner[h] = name
		}
	}
	return nil
}

func invalidValue(key, value, example string) *Error {
	return Problem("config.value", nil, "key", key, "value", value, "example", example).WithCode(ExitUsage)
}

var (
	stackForm  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}[a-z0-9]$`)
	labelForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	emailForm  = regexp.MustCompile(`^[^\s@<>"]{1,64}@[^\s@<>"]{1,190}$`)
	rebootForm = regexp.MustCompile(`^(never|([01][0-9]|2[0-3]):[0-5][0-9])$`)
)

// StackName tells whether s can be the name of a stack.
func StackName(s string) bool { return stackForm.MatchString(s) }

// HostName tells whether s is a lower-case DNS name that a certificate can be
// made for: labels of letters, digits and dashes, at most 253 bytes.
func HostName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !labelForm.MatchString(label) {
			return false
		}
	}
	return true
}
