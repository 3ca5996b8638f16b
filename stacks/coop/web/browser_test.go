// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

//go:embed testdata/axe/axe.min.js
var axe string

var screenshots = flag.String("screenshots", "", "a folder to which every page is drawn, as a phone shows it") //nolint:gochecknoglobals // a test flag

// tab is a page of a real Chromium, for the length of a test.
type tab struct {
	*testing.T
	ctx context.Context
}

func browser(t *testing.T) tab {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("this test needs a real browser: apt-get install -y chromium")
	}
	// The profile is a new folder of its own, which goes away with the browser.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.IgnoreCertErrors, chromedp.Flag("accept-lang", "en"))
	ctx, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(end) // waits until it has gone
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s doesn't start: %v", program, err)
	}
	ctx, cancel = context.WithTimeout(ctx, 8*time.Minute)
	t.Cleanup(cancel)
	return tab{t, ctx}
}

func (b tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// eval is what an expression in the page is worth; promises are waited for.
func eval[T any](b tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%.60s: %v", expression, err)
	}
	return v
}

func call[P, R any](c cdp.Command[P, R], p P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, p)
		return err
	})
}

// look is one way to look at a page.
type look struct {
	name   string
	scheme string
	width  int64
}

func looks() []look {
	return []look{{"a phone", "light", 320}, {"a phone at night", "dark", 320}, {"a desk", "light", 1280}, {"a desk at night", "dark", 1280}}
}

func (b tab) as(l look) {
	b.Helper()
	dark := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}
	b.do(l.name, chromedp.EmulateViewport(l.width, 640), call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: dark}))
}

// rules are WCAG 2.2 AA and the practices beyond it; at night only the colours
// differ.
func (l look) rules() string {
	if l.scheme == "dark" {
		return `{type: 'rule', values: ['color-contrast', 'link-in-text-block']}`
	}
	return `{type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}`
}

// check has axe-core judge the page that's open by the rules %s, with everything
// folded out, and looks whether it fits its width.
const check = `(async () => {
	document.querySelectorAll('details').forEach(d => d.open = true);
	const r = await axe.run(document, {runOnly: %s, resultTypes: ['violations'], elementRef: false});
	const found = r.violations.flatMap(v => v.nodes.map(n => v.id + ': ' + n.html + ' ' + n.failureSummary));
	const wide = document.documentElement.scrollWidth;
	if (wide > innerWidth) found.push('the page is ' + wide + ' wide on a screen of ' + innerWidth);
	const small = [...document.querySelectorAll('button, .button, summary, select, input:not([type=hidden]):not([type=checkbox]), nav a')]
		.filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 43.5);
	found.push(...small.map(e => 'less than 44 px high: ' + e.outerHTML.slice(0, 120)));
	if (r.passes.length === 0) found.push('nothing was checked');
	return found;
})()`

// faults opens an address and returns what is wrong with the page in each look.
func (b tab) faults(address string) (list []string) {
	b.Helper()
	b.do(address, chromedp.Navigate(address))
	eval[chromedp.Void](b, axe)
	for _, l := range looks() {
		b.as(l)
		for _, f := range eval[[]string](b, fmt.Sprintf(check, l.rules())) {
			list = append(list, "on "+l.name+": "+f)
		}
	}
	return list
}

// gallery serves the pages of the story as they were answered.
func gallery(t *testing.T, told []page) *httptest.Server {
	t.Helper()
	live := newSite(t)
	mux := http.NewServeMux()
	mux.Handle("/", live.srv.Config.Handler)
	for _, p := range told {
		mux.HandleFunc("GET /told/"+p.name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", p.header.Get("Content-Security-Policy"))
			_, _ = w.Write([]byte(strings.Replace(p.body, `http-equiv="refresh"`, "", 1))) // it would be gone in the middle of the check
		})
	}
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	return srv
}

// TestAccessible: every page in every state, in light and in dark, on a phone and
// on a desk, has no fault that axe-core knows, fits and can be hit.
func TestAccessible(t *testing.T) {
	told := story(t, "en")
	srv, b := gallery(t, told), browser(t)
	for _, p := range told {
		for _, f := range b.faults(srv.URL + "/told/" + p.name) {
			t.Errorf("%s %s", p.name, f)
		}
		if *screenshots != "" {
			b.draw(p.name)
		}
	}
}

// TestLanguagesFit: the longer words of Spanish and French fit a phone as well.
func TestLanguagesFit(t *testing.T) {
	const fits = `(() => {
	document.querySelectorAll('details').forEach(d => d.open = true);
	return [document.documentElement.scrollWidth - innerWidth, document.documentElement.lang];
})()`
	b := browser(t)
	b.as(looks()[0])
	for _, lang := range []string{"es", "fr"} {
		told := story(t, lang)
		srv := gallery(t, told)
		for _, p := range told {
			b.do(p.name, chromedp.Navigate(srv.URL+"/told/"+p.name))
			if got := fmt.Sprint(eval[[]any](b, fits)...); got != "0"+lang {
				t.Errorf("%s in %s: too wide by %s", p.name, lang, got)
			}
		}
	}
}

func (b tab) draw(name string) {
	b.Helper()
	for _, l := range looks()[:2] {
		b.as(l)
		eval[chromedp.Void](b, `document.querySelectorAll('details').forEach(d => d.open = false)`)
		png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
		if err == nil {
			err = os.WriteFile(filepath.Join(*screenshots, name+"-"+l.scheme+".png"), png, 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// TestCheckFinds keeps the check above honest.
func TestCheckFinds(t *testing.T) {
	const good = `<!doctype html><html lang="en"><title>x</title><main><h1>Heading</h1><label for="a">Label</label><input id="a" style="height:44px"></main></html>`
	var bodies []page
	for i, body := range []string{good,
		strings.Replace(good, "<h1>", `<h1 style="color:#ccc">`, 1), strings.Replace(good, `for="a"`, "", 1), strings.Replace(good, ` lang="en"`, "", 1),
		strings.Replace(good, "<h1>", `<div style="width:1300px">x</div><h1>`, 1), strings.Replace(good, "44px", "30px", 1),
	} {
		bodies = append(bodies, page{name: strconv.Itoa(i), body: body})
	}
	srv, b := gallery(t, bodies), browser(t)
	for i, p := range bodies {
		if found := b.faults(srv.URL + "/told/" + p.name); (len(found) > 0) != (i > 0) {
			t.Errorf("%s: %v", p.body, found)
		}
	}
}
