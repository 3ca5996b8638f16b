// SPDX-License-Identifier: AGPL-3.0-or-later

package text

import (
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v3"

	"rochdale/appliance"
)

var example = fstest.MapFS{"messages/a.yaml": {Data: []byte(`
disk.full:
  en: {title: "{free} left on {path}", why: "Orders stop.", fix: "Remove {path}/old."}
  es: {title: "quedan {free} en {path}", why: "Los pedidos paran.", fix: "Borre {path}/old."}
disk.label:
  en: {title: "Disk"}
  es: {title: "Disco"}
  fr: {title: "Disque"}
`)}}

func TestRender(t *testing.T) {
	c := open(example)
	full := appliance.Message{ID: "disk.full", Args: appliance.Args("free", "3 MB", "path", "/var")}
	cases := []struct {
		name, lang string
		message    appliance.Message
		want       Rendered
	}{
		{"filled in", "es", full, Rendered{"quedan 3 MB en /var", "Los pedidos paran.", "Borre /var/old."}},
		{"English where the language lacks it", "fr", full, Rendered{"3 MB left on /var", "Orders stop.", "Remove /var/old."}},
		{"English for a language we do not speak", "tlh", full, Rendered{"3 MB left on /var", "Orders stop.", "Remove /var/old."}},
		{"a missing argument is seen", "en", appliance.Message{ID: "disk.full", Args: appliance.Args("path", "/")},
			Rendered{"{free} left on /", "Orders stop.", "Remove //old."}},
		{"an argument is not filled in again", "en", appliance.Message{ID: "disk.full", Args: appliance.Args("free", "{path}", "path", "/x")},
			Rendered{"{path} left on /x", "Orders stop.", "Remove /x/old."}},
		{"an unknown id is shown bare", "en", appliance.Message{ID: "disk.gone", Args: appliance.Args("a", 1)}, Rendered{Title: `disk.gone a="1"`}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := c.Render(test.lang, test.message); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	if got := c.Label("fr", "disk.label"); got != "Disque" {
		t.Errorf("label: got %q", got)
	}
}

// TestPlansInWords: nobody reads the name of a plan, whatever its message is.
func TestPlansInWords(t *testing.T) {
	c := Open()
	busy := appliance.Message{ID: "daemon.busy", Args: appliance.Args("plan", "stack-update")}
	for lang, want := range map[string]string{"en": "way: update", "es": "en curso: actualización", "fr": "en cours : mise à jour"} {
		if got := c.Render(lang, busy).Title; !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", lang, got)
		}
	}
	if busy.Args["plan"] != "stack-update" {
		t.Error("the message was changed")
	}
	if got := c.Plan("es", "moving"); got != "moving" {
		t.Errorf("an unknown plan is %q", got)
	}
	for dir, plans := range scan(t, "../..").plans {
		for _, name := range plans {
			if !c.Has("plan." + name) {
				t.Errorf("%s: the plan %q has no words", dir, name)
			}
		}
	}
}

func TestOnlyTheLanguagesAskedForAreKept(t *testing.T) {
	c := open(example)
	if len(c.languages) != 0 {
		t.Fatalf("languages were read before one was asked for: %v", slices.Collect(maps.Keys(c.languages)))
	}
	c.Label("es", "disk.label")
	if got := slices.Collect(maps.Keys(c.languages)); !slices.Equal(got, []string{"es"}) {
		t.Errorf("after one Spanish label the catalogue keeps %v", got)
	}
}

func TestPick(t *testing.T) {
	cases := []struct {
		wishes []string
		want   string
	}{
		{nil, "en"},
		{[]string{"", "fr_CA.UTF-8", "es"}, "fr"},
		{[]string{"de_DE.UTF-8", "es-MX"}, "es"},
		{[]string{"C.UTF-8"}, "en"},
		{[]string{"FR"}, "fr"},
	}
	for _, test := range cases {
		if got := Pick(test.wishes...); got != test.want {
			t.Errorf("Pick(%q) = %q, want %q", test.wishes, got, test.want)
		}
	}
}

var placeholder = regexp.MustCompile(`\{[a-z_]+\}`)

// TestEveryMessageInEveryLanguage wants the same parts and the same
// placeholders in each language, and each id once.
func TestEveryMessageInEveryLanguage(t *testing.T) {
	where := map[string]string{}
	for name, area := range readAreas(t) {
		for id, languages := range area {
			if other, twice := where[id]; twice {
				t.Errorf("%s is in %s and in %s", id, other, name)
			}
			where[id] = name
			if got := slices.Sorted(maps.Keys(languages)); !slices.Equal(got, Languages()) {
				t.Errorf("%s: %s has the languages %v, want %v", name, id, got, Languages())
			}
			for _, lang := range Languages() {
				compare(t, name+": "+id+" in "+lang, languages[lang], languages[Fallback])
			}
		}
	}
}

func compare(t *testing.T, where string, got, english Rendered) {
	t.Helper()
	if got.Title == "" {
		t.Errorf("%s has no title", where)
	}
	if (got.Why == "") != (english.Why == "") || (got.Fix == "") != (english.Fix == "") {
		t.Errorf("%s has other parts than English", where)
	}
	if have, want := placeholders(got), placeholders(english); !slices.Equal(have, want) {
		t.Errorf("%s has the placeholders %v, English has %v", where, have, want)
	}
}

func placeholders(r Rendered) []string {
	found := placeholder.FindAllString(r.Title+" "+r.Why+" "+r.Fix, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// readAreas reads all files strictly: an unknown key ("titel") or an id that is
// twice in one file is an error.
func readAreas(t *testing.T) map[string]map[string]map[string]Rendered {
	t.Helper()
	areas := map[string]map[string]map[string]Rendered{}
	names, err := fs.Glob(messages, "messages/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no messages are built in (%v)", err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(messages, name)
		if err != nil {
			t.Fatal(err)
		}
		d := yaml.NewDecoder(strings.NewReader(string(data)))
		d.KnownFields(true)
		var area map[string]map[string]Rendered
		if err := d.Decode(&area); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		areas[name] = area
	}
	return areas
}
