// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

// old is a page that was printed with the first version.
func old(t *testing.T, number int) Page {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("testdata/v1/page%d.txt", number))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadPage(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestOldPaper: pages and a kit of the first version open for ever. Never write
// these files anew.
func TestOldPaper(t *testing.T) {
	file, err := os.ReadFile("testdata/v1/kit.age")
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]int{{1, 2}, {3, 1}, {2, 3}} {
		s, err := hand(t, old(t, pair[0]), old(t, pair[1])).Secret()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Open(file, s); err != nil || !reflect.DeepEqual(got, example()) {
			t.Errorf("pages %v: %+v, %v", pair, got, err)
		}
	}
}

func frame() Frame {
	return Frame{
		Box: Box{"Mensajería del Sur", "mensajeria.example"}, Printed: time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC),
		Install: "curl -fsS https://hub.example/rochdale | sh",
		Version: "1.2.3",
		Disks:   []string{"/mnt/disk/rides"},
		Places:  []string{"s3:https://s3.example.com/coop/backup", "sftp://backup:not-shown@nas.example//srv/backup"},
	}
}

func paper(t *testing.T) Paper {
	t.Helper()
	p := Paper{Page: old(t, 2)}
	for i := range CodesPerPage {
		values := bytes.Repeat([]byte{byte(i)}, codeData)
		p.Codes = append(p.Codes, codeText(append(values, codeCheck(values))))
	}
	return p
}

func TestGoldenPages(t *testing.T) {
	for _, lang := range Languages() {
		plain, err := frame().Text(lang, paper(t))
		if err != nil {
			t.Fatal(err)
		}
		html, err := frame().HTML(lang, paper(t), paper(t))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "page-"+lang+".txt", []byte(plain))
		golden(t, "pages-"+lang+".html", html)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not as expected (%v):\n%s", name, err, got)
	}
}

// TestPagesSayWhatIsNeeded in each language and for each kind of printing.
func TestPagesSayWhatIsNeeded(t *testing.T) {
	alone, one, some := printing(t, 1, 1).Papers[0], printing(t, 1, 4).Papers[2], printing(t, 3, 5).Papers[4]
	bare := Frame{Box: Box{Name: "Box"}, Printed: time.Now()}
	for _, lang := range append(Languages(), "tlh") {
		w, _, err := wordsIn(lang)
		if err != nil {
			t.Fatal(err)
		}
		for id, p := range map[string]Paper{"lead.alone": alone, "lead.one": one, "lead.some": some} {
			text, err := bare.Text(lang, p)
			if err != nil {
				t.Fatal(err)
			}
			flat := strings.Join(strings.Fields(text), " ")
			for _, want := range []string{
				w.say(id, "need", p.Page.Need, "of", p.Page.Of), w.say("lost.no-line"), w.say("lost.copy", "file", Name),
				w.say("what.text", "box", "Box"), "./" + recoverLine, broughtLine, p.Codes[0], p.Codes[CodesPerPage-1],
				w.say(map[bool]string{true: "keep.alone", false: "keep.text"}[p.Page.Of == 1]),
			} {
				if !strings.Contains(flat, want) {
					t.Errorf("%s, %s: no %q in\n%s", lang, id, want, text)
				}
			}
		}
	}
}

// TestPageNamesProgramAndDisk: who has nothing but the page knows which program to bring,
// and where a disk with backups belongs.
func TestPageNamesProgramAndDisk(t *testing.T) {
	f := Frame{Box: Box{Name: "Box"}, Printed: time.Now(), Version: "1.2.3", Disks: []string{"/mnt/disk/rides"}}
	for _, lang := range Languages() {
		w, _, err := wordsIn(lang)
		if err != nil {
			t.Fatal(err)
		}
		text, err := f.Text(lang, printing(t, 1, 1).Papers[0])
		if err != nil {
			t.Fatal(err)
		}
		flat := strings.Join(strings.Fields(text), " ")
		for _, want := range []string{w.say("lost.no-line-version", "version", "1.2.3"), w.say("lost.disk", "paths", "/mnt/disk/rides")} {
			if !strings.Contains(flat, want) {
				t.Errorf("%s: no %q in\n%s", lang, want, text)
			}
		}
	}
}

// TestPaperIsTypedBack: what is printed can be typed as it stands there.
func TestPaperIsTypedBack(t *testing.T) {
	for _, p := range printing(t, 2, 3).Papers {
		text, err := frame().Text("en", p)
		if err != nil {
			t.Fatal(err)
		}
		html, err := frame().HTML("en", p)
		if err != nil {
			t.Fatal(err)
		}
		var typed []string
		for line := range strings.Lines(text) {
			if regexp.MustCompile(`^ +[1-9]\.  [0-9A-Z]{5}-[0-9A-Z]{5}\n$`).MatchString(line) {
				typed = append(typed, line)
			}
		}
		shown := regexp.MustCompile(`<li>([0-9A-Z]{5}-[0-9A-Z]{5})</li>`).FindAllStringSubmatch(string(html), -1)
		var drawn []string
		for _, m := range shown {
			drawn = append(drawn, m[1])
		}
		for how, lines := range map[string][]string{"text": typed, "HTML": drawn} {
			if got, err := ReadPage(strings.Join(lines, "\n")); err != nil || !same(got, p.Page) {
				t.Errorf("%s: %v, %v", how, got, err)
			}
		}
	}
}

// TestTextFits: 80 columns, except what must not be broken.
func TestTextFits(t *testing.T) {
	f := frame()
	f.Box.Name = strings.Repeat("Cooperativa de mensajería y reparto ", 5)
	for _, lang := range Languages() {
		text, err := f.Text(lang, paper(t))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(line) > columns+1 || strings.HasSuffix(line, " \n") {
				t.Errorf("%s: %q", lang, line)
			}
		}
	}
}

// TestPagesAreWary: nothing is run or fetched, no password is shown, and a name
// is never markup.
func TestPagesAreWary(t *testing.T) {
	f := frame()
	f.Box.Name = `<script>alert(1)</script>"'&`
	f.Install = `curl "https://x/<b>" | sh`
	html, err := f.HTML("en", paper(t))
	if err != nil {
		t.Fatal(err)
	}
	text, err := f.Text("en", paper(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"<script", "<b>", "src=", "@import", "url(", "<link", "not-shown", "onload"} {
		if bytes.Contains(html, []byte(no)) {
			t.Errorf("the page has %s", no)
		}
	}
	if strings.Contains(text, "not-shown") || !strings.Contains(text, f.Install) {
		t.Errorf("the text:\n%s", text)
	}
}

// TestOnePageOfA4 prints the fullest pages with a real browser, those of all
// languages at once.
func TestOnePageOfA4(t *testing.T) {
	f := frame()
	f.Places = slices.Repeat([]string{"s3:https://s3.eu-central-003.example.com/" + strings.Repeat("backup-", 12)}, maxPlaces+2)
	papers := printing(t, 2, 3).Papers
	var all []byte
	for _, lang := range Languages() {
		html, err := f.HTML(lang, papers...)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, html...)
	}
	if got, want := sheets(t, all), len(papers)*len(Languages()); got != want {
		t.Errorf("%d papers need %d sheets", want, got)
	}
}

// sheets prints a document and counts.
func sheets(t *testing.T, html []byte) int {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "pages.html"), filepath.Join(dir, "pages.pdf")
	if err := os.WriteFile(from, html, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--print-to-pdf="+to, "file://"+from)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("this test needs a real browser (apt-get install -y chromium): %v\n%s", err, out)
	}
	pdf, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return len(regexp.MustCompile(`/Type\s*/Page\b`).FindAll(pdf, -1))
}

// TestWords wants every text in every language, with the same things filled in,
// and each of them used.
func TestWords(t *testing.T) {
	var all map[string]map[string]string
	if err := yaml.Unmarshal(wordsFile, &all); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("render.go")
	if err != nil {
		t.Fatal(err)
	}
	fill := regexp.MustCompile(`\{[a-z]+\}`)
	want := slices.Sorted(slices.Values(Languages()))
	for id, texts := range all {
		if got := slices.Sorted(maps.Keys(texts)); !slices.Equal(got, want) {
			t.Errorf("%s has the languages %v", id, got)
		}
		if !bytes.Contains(source, []byte(`"`+id+`"`)) {
			t.Errorf("%s is nowhere in the code", id)
		}
		english := slices.Sorted(slices.Values(fill.FindAllString(texts["en"], -1)))
		for lang, text := range texts {
			if got := slices.Sorted(slices.Values(fill.FindAllString(text, -1))); text == "" || !slices.Equal(got, english) {
				t.Errorf("%s in %s has %v, English has %v", id, lang, got, english)
			}
		}
	}
	for _, id := range regexp.MustCompile(`"([a-z]+\.[a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
		if _, ok := all[id[1]]; !ok && id[1] != "page.html" {
			t.Errorf("no words for %s", id[1])
		}
	}
}
