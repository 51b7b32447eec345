package page

import (
	"fmt"
	"net/http"
	"strings"
)

// lang is a language of the page: its tag of BCP 47.
type lang string

const (
	english lang = "en"
	german  lang = "de"
)

var langs = []lang{english, german}

const langCookie = "edgegw-language"

// langOf is the language that somebody chose, else the one his browser prefers.
func langOf(r *http.Request) lang {
	if c, err := r.Cookie(langCookie); err == nil {
		for _, l := range langs {
			if c.Value == string(l) {
				return l
			}
		}
	}
	for wish := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(wish), ";")
		for _, l := range langs {
			if tag == string(l) || strings.HasPrefix(tag, string(l)+"-") {
				return l
			}
		}
	}
	return english
}

// text gives a text of the page in its language. The English one is its name.
func (l lang) text(text string, args ...any) string {
	if l == german {
		if t, ok := inGerman[text]; ok {
			text = t
		}
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// count chooses between one and many; both may hold the number as %d.
func (l lang) count(n int64, one, many string) string {
	if n == 1 {
		return strings.Replace(l.text(one), "%d", "1", 1)
	}
	return strings.Replace(l.text(many), "%d", fmt.Sprint(n), 1)
}

func (s *Site) language(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	for _, l := range langs {
		if v.field("to") == string(l) {
			http.SetCookie(v.w, &http.Cookie{Name: langCookie, Value: string(l), Path: "/", MaxAge: 400 * 24 * 3600, HttpOnly: true, Secure: v.r.TLS != nil, SameSite: http.SameSiteStrictMode})
		}
	}
	back := v.field("back")
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n") {
		back = "/" // another site's address must not come from here
	}
	return v.seeOther(back)
}
