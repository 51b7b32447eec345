package page

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/wording"
)

// sentence puts a sentence of the gateway into the language of the page. What the page
// has no words for, and what others have said, stays as it is and is marked as English.
func (l lang) sentence(s wording.Sentence) template.HTML {
	if s.Empty() {
		return ""
	}
	if l == english {
		return template.HTML(template.HTMLEscapeString(s.String()))
	}
	text, known := translated(s.Text)
	if !known {
		return asItIs(s.String())
	}
	if len(s.Values) == 0 {
		return template.HTML(template.HTMLEscapeString(text))
	}
	values, marked := slices.Clone(s.Values), []template.HTML{}
	for i, v := range values {
		var html template.HTML
		switch v := v.(type) {
		case wording.Sentence:
			html = l.sentence(v)
		case wording.Capital:
			html = capital(l.sentence(wording.Sentence(v)))
		case wording.Quote:
			html = "„" + asItIs(string(v)) + "“"
		case wording.Word:
			html = template.HTML(template.HTMLEscapeString(l.word(string(v))))
		case doctor.Condition:
			html = l.standing(v)
		default:
			continue
		}
		values[i] = fmt.Sprintf("\uE000%d\uE001", len(marked)) // of Unicode's private use: nobody's text
		marked = append(marked, html)
	}
	text = template.HTMLEscapeString(fmt.Sprintf(text, values...))
	for i, html := range marked {
		text = strings.ReplaceAll(text, fmt.Sprintf("\uE000%d\uE001", i), string(html))
	}
	return template.HTML(text)
}

// capital begins with a capital letter, unless it begins with what others have said.
func capital(html template.HTML) template.HTML {
	first, size := utf8.DecodeRuneInString(string(html))
	return template.HTML(string(unicode.ToUpper(first))) + html[size:]
}

// asItIs marks what is in English on a page of another language.
func asItIs(text string) template.HTML {
	return template.HTML(`<span lang="en">` + template.HTMLEscapeString(text) + `</span>`)
}

// translated looks a sentence up. One that is made of places only is the same in every
// language.
func translated(text string) (string, bool) {
	for _, all := range []map[string]string{sentencesInGerman, standingInGerman, foundInGerman, inGerman} {
		if t, known := all[text]; known {
			return t, true
		}
	}
	return text, !strings.ContainsFunc(places.Replace(text), func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' })
}

var places = strings.NewReplacer("%s", "", "%d", "", "%q", "", "%v", "")

// standing is a condition in a sentence.
func (l lang) standing(c doctor.Condition) template.HTML {
	if german, ok := conditionsInGerman[c.Code]; ok {
		return template.HTML(template.HTMLEscapeString(german[0]))
	}
	return asItIs(c.Title)
}

// orText is a sentence, or where there is none a text that is one by itself.
func (l lang) orText(s wording.Sentence, text string) template.HTML {
	if s.Empty() {
		s = wording.Of(text)
	}
	return l.sentence(s)
}

// refusal is what a refusal says, and what it says is to be done.
func (l lang) refusal(f *admin.Refusal) [2]template.HTML {
	return [2]template.HTML{l.orText(f.Says, f.Message), l.orText(f.Do, f.Remedy)}
}

// found and fix are what a check of the doctor says.
func (l lang) found(c admin.Check) template.HTML {
	html := l.orText(c.FoundWords, c.Found)
	if l != english && !c.FoundWords.Empty() {
		html += "."
	} else if l == english {
		html = template.HTML(template.HTMLEscapeString(c.Found))
	}
	return html
}

func (l lang) fix(c admin.Check) template.HTML {
	if german, known := fixesInGerman[c.FixOf]; known && l != english {
		return template.HTML(template.HTMLEscapeString(doctor.With(german, c.Fill...)))
	}
	return l.orText(wording.Sentence{}, c.Fix)
}
