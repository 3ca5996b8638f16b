// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"rochdale/appliance"
)

// shortRetry is how soon a client may come back after a hiccup.
const shortRetry = 5 * time.Second

// longRetry is said when nobody knows how long it takes.
const longRetry = time.Minute

type pageArgs struct {
	retry time.Duration // 0: do not say
	until time.Time     // zero: not known
}

// maintenance is the page of a closed gate. A time that has passed says nothing.
func (e *edge) maintenance(w *answer, r *http.Request, g appliance.Gate) {
	left := time.Until(g.Until)
	if left <= 0 {
		e.page(w, r, http.StatusServiceUnavailable, "edge.page.maintenance", pageArgs{retry: longRetry})
		return
	}
	e.page(w, r, http.StatusServiceUnavailable, "edge.page.maintenance-until",
		pageArgs{retry: left.Truncate(time.Second) + time.Second, until: g.Until})
}

// pageTemplate has its styles inline: while this page shows there is nothing
// that could serve a file.
const pageTemplate = `<!doctype html>
<html lang="{{.Lang}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
:root { color-scheme: light dark; font: 1.125rem/1.6 system-ui, sans-serif; }
main { max-width: 34rem; margin: 15vh auto 0; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; line-height: 1.3; }
</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Why}}</p>
<p>{{.Fix}}{{if .Until}} <time datetime="{{.Until}}">{{.UntilText}}</time>{{end}}</p>
</main>
</body>
</html>
`

type pageData struct {
	Lang             string
	Title, Why, Fix  string
	Until, UntilText string
}

// page answers with one of our own pages, in the reader's language; a client
// that does not ask for HTML gets plain text.
func (e *edge) page(w *answer, r *http.Request, status int, id string, args pageArgs) {
	lang := languageOf(r.Header.Get("Accept-Language"))
	words := e.opts.Words(lang, appliance.Message{ID: id})
	data := pageData{Lang: lang, Title: words.Title, Why: words.Why, Fix: words.Fix}
	if !args.until.IsZero() {
		data.Until = args.until.UTC().Format(time.RFC3339)
		data.UntilText = args.until.UTC().Format("2006-01-02 15:04 UTC")
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Language", lang)
	h.Set("Vary", "Accept, Accept-Language")
	h.Set("X-Content-Type-Options", "nosniff")
	if args.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(args.retry.Seconds())))
	}
	if r.TLS != nil {
		e.securityHeaders(h)
	}
	body := e.render(h, strings.Contains(r.Header.Get("Accept"), "text/html"), data)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}

func (e *edge) render(h http.Header, html bool, d pageData) []byte {
	var b bytes.Buffer
	if html {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		if err := e.pages.Execute(&b, d); err == nil {
			return b.Bytes()
		}
		b.Reset()
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	b.WriteString(d.Title + "\n" + d.Why + "\n" + strings.TrimSpace(d.Fix+" "+d.UntilText) + "\n")
	return b.Bytes()
}

func newPages() *template.Template { return template.Must(template.New("page").Parse(pageTemplate)) }

// languageOf chooses en, es or fr by the Accept-Language header.
func languageOf(header string) string {
	best, bestQ := "en", 0.0
	for part := range strings.SplitSeq(clip(header), ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		lang, _, _ := strings.Cut(strings.ToLower(tag), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			parsed, err := strconv.ParseFloat(v, 64)
			if err != nil {
				continue
			}
			q = parsed
		}
		if (lang == "en" || lang == "es" || lang == "fr") && q > bestQ {
			best, bestQ = lang, q
		}
	}
	return best
}
