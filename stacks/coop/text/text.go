// SPDX-License-Identifier: AGPL-3.0-or-later

// Package text is what people read, in English, Spanish and French.
//
// It may import the standard library only. It must never decide what is shown,
// only how it is said.
package text

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed *.json
var files embed.FS

// Langs lists the languages, the first being the one of last resort.
func Langs() []string { return []string{"en", "es", "fr"} }

// Catalogues is every language's texts.
type Catalogues struct{ by map[string]map[string]string }

// Load reads the embedded catalogues.
func Load() (Catalogues, error) { return load(files) }

func load(dir fs.FS) (Catalogues, error) {
	c := Catalogues{by: map[string]map[string]string{}}
	for _, lang := range Langs() {
		body, err := fs.ReadFile(dir, lang+".json")
		if err != nil {
			return c, err
		}
		words := map[string]string{}
		if err := json.Unmarshal(body, &words); err != nil {
			return c, fmt.Errorf("text: %s.json: %w", lang, err)
		}
		c.by[lang] = words
	}
	return c, nil
}

// Has reports whether lang is one of the languages.
func (c Catalogues) Has(lang string) bool { _, ok := c.by[lang]; return ok }

// T returns the text of key in lang, with {name} replaced by the value that
// follows name in pairs. A key that isn't there is shown as it is, so that the
// page still works.
func (c Catalogues) T(lang, key string, pairs ...string) string {
	s, ok := c.by[lang][key]
	if !ok {
		return key
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		s = strings.ReplaceAll(s, "{"+pairs[i]+"}", pairs[i+1])
	}
	return s
}

// Keys returns the texts of one language.
func (c Catalogues) Keys(lang string) map[string]string { return c.by[lang] }

// Pick returns the first language that c has among the choices of an
// Accept-Language header, or other.
func (c Catalogues) Pick(header, other string) string {
	best, most := other, 0.0
	for _, part := range strings.SplitN(header, ",", 20) {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		lang, _, _ := strings.Cut(strings.ToLower(tag), "-")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			weight, _ = strconv.ParseFloat(q, 64)
		}
		if c.Has(lang) && weight > most {
			best, most = lang, weight
		}
	}
	return best
}

// Money writes a decimal amount of a currency as the language writes it.
func Money(lang, amount, unit string) string {
	sign := ""
	if rest, neg := strings.CutPrefix(amount, "-"); neg {
		sign, amount = "−", rest
	}
	symbol, known := symbols()[unit]
	if lang == "en" {
		if known {
			return sign + symbol + amount
		}
		return sign + unit + "\u00a0" + amount
	}
	if !known {
		symbol = unit
	}
	return sign + strings.Replace(amount, ".", ",", 1) + "\u00a0" + symbol
}

func symbols() map[string]string {
	return map[string]string{"EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥", "INR": "₹", "BRL": "R$", "PLN": "zł"}
}
