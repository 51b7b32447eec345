package support

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"edgegw/card"
	"edgegw/secret"
)

// form is what one kind of secret looks like, and what stays of it. No replacement
// brings two pieces of a text together, so none makes a new secret of two halves.
type form struct {
	hint string // without it, in letters of any case, a text has none
	find *regexp.Regexp
	put  string
}

var forms = []form{
	// Private keys: PEM also where its end is missing, and that of bundles for a box.
	{"private key-----", regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`), secret.Redacted},
	{"age-secret-key-", regexp.MustCompile(`(?i)age-secret-key-[a-z0-9-]+`), secret.Redacted},
	// What stands before the host of a URL: a proxy's login, a device's in a QR code.
	{"://", regexp.MustCompile("([A-Za-z][A-Za-z0-9+.-]*://)[^\\s/?#\"'<>`]*@"), "${1}" + secret.Redacted + "@"},
	// OpenFiskal's keys, of every family and length.
	{"ofk_", regexp.MustCompile(`(?i)ofk_[a-z0-9_-]+`), secret.Redacted},
	// Logins in headers.
	{"authorization", regexp.MustCompile(`(?i)(\bauthorization\W{1,4}(?:basic|bearer)\s+)[a-z0-9._~+/=-]{8,}`), "${1}" + secret.Redacted},
	{"bearer", regexp.MustCompile(`(?i)(\bbearer\s+)[a-z0-9._~+/=-]{8,}`), "${1}" + secret.Redacted},
	// Tokens of this gateway. Its metrics begin alike, in small letters.
	{"edgegw_", regexp.MustCompile(`edgegw_[A-Z2-7]{8,}`), secret.Redacted},
}

// drawn are secrets that are made by chance, of which nothing tells but that they are
// long. They are looked for in long words only, because that is slow.
var drawn = []form{
	// What crypto/rand.Text draws: device secrets, sessions, the part of a token
	// that proves it.
	{"", regexp.MustCompile(`[A-Z2-7]{26,}`), secret.Redacted},
	// The code that claims a gateway.
	{"-", regexp.MustCompile(`\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}\b`), secret.Redacted},
	// Key-encryption keys: 32 bytes in hexadecimal and in base64.
	{"", regexp.MustCompile(`\b[0-9A-Fa-f]{64}\b`), secret.Redacted},
	{"=", regexp.MustCompile(`\b[A-Za-z0-9+/_-]{43}=`), secret.Redacted},
}

// longWord is the length of the shortest of them.
const longWord = len("AAAA-BBBB-CCCC-DDDD")

// secretNames are the words that call what comes behind them a secret.
var secretNames = []string{"password", "passwd", "passwort", "secret", "pin", "kek", "register_key", "platform_key", "private_key", "api_key", "apikey"}

var (
	// named is a member of a JSON object whose name says that it is a secret.
	named = regexp.MustCompile(`("(?i:` + strings.Join(secretNames, "|") + `)"\s*:\s*)"(?:[^"\\]|\\.)*"`)
	// literal is a string of JSON.
	literal = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// Redact takes out of a text what looks like a secret, and the digits of card
// numbers but the last four. What it has redacted it leaves alone.
func Redact(text string) string {
	text = apply(forms, text)
	text = inWords(text, func(word string) string { return apply(drawn, word) })
	return card.Mask(called(text))
}

func apply(all []form, text string) string {
	for _, f := range all {
		if contains(text, f.hint) {
			text = f.find.ReplaceAllString(text, f.put)
		}
	}
	return text
}

// contains is strings.Contains in any case of letters: a log of megabytes has few
// secrets or none, and this is ten times as quick as a regular expression.
func contains(text, hint string) bool {
	if hint == "" {
		return true
	}
	lower, upper := hint[:1], strings.ToUpper(hint[:1])
	for from := 0; len(text)-from >= len(hint); from++ {
		next := strings.IndexAny(text[from:], lower+upper)
		if next < 0 || len(text)-from-next < len(hint) {
			return false
		}
		if from += next; strings.EqualFold(text[from:from+len(hint)], hint) {
			return true
		}
	}
	return false
}

// inWords calls f for long words, and puts what it gives in their places.
func inWords(text string, f func(string) string) string {
	var out strings.Builder
	done := 0
	for from := 0; from < len(text); from++ {
		to := from
		for to < len(text) && ofWord(text[to]) {
			to++
		}
		if to-from >= longWord {
			out.WriteString(text[done:from])
			out.WriteString(f(text[from:to]))
			done = to
		}
		from = to
	}
	if done == 0 {
		return text
	}
	return out.String() + text[done:]
}

func ofWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("+/_-=", c) >= 0
}

// called takes out what is called a secret: password=….
func called(text string) string {
	var out strings.Builder
	done := 0
	for at := 0; ; at++ {
		next := strings.IndexByte(text[at:], '=')
		if next < 0 {
			break
		}
		at += next
		if end := at + 1 + valueLen(text[at+1:]); end-at > shortest && text[at+1:end] != secret.Redacted && isCalled(text[:at]) {
			out.WriteString(text[done : at+1])
			out.WriteString(secret.Redacted)
			done, at = end, end-1
		}
	}
	if done == 0 {
		return text
	}
	return out.String() + text[done:]
}

// isCalled reports whether a text ends in one of secretNames.
func isCalled(text string) bool {
	for _, n := range secretNames {
		if rest := len(text) - len(n); rest >= 0 && strings.EqualFold(text[rest:], n) && (rest == 0 || !ofWord(text[rest-1])) {
			return true
		}
	}
	return false
}

// valueLen is the length of a value as slog writes it: a word, or quoted.
func valueLen(text string) int {
	if strings.HasPrefix(text, `"`) {
		if end := strings.IndexByte(text[1:], '"'); end >= 0 {
			return end + 2
		}
	}
	if end := strings.IndexAny(text, " \t\r\n\"',;&"); end >= 0 {
		return end
	}
	return len(text)
}

// RedactJSON is Redact for JSON, which stays JSON: escapes hide nothing. What is no
// JSON is redacted as text.
func RedactJSON(text []byte) []byte { return redactJSON(text, nil) }

func redactJSON(text []byte, known []secret.Text) []byte {
	if !json.Valid(text) {
		return redactText(text, known)
	}
	text = named.ReplaceAll(text, []byte(`${1}"`+secret.Redacted+`"`))
	text = literal.ReplaceAllFunc(text, func(quoted []byte) []byte { return redactLiteral(quoted, known) })
	return card.MaskJSON(text)
}

func redactText(text []byte, known []secret.Text) []byte {
	return []byte(Redact(card.Text(without(text, known))))
}

func redactLiteral(quoted []byte, known []secret.Text) []byte {
	var plain string
	if json.Unmarshal(quoted, &plain) != nil {
		return []byte(`"` + secret.Redacted + `"`) // a string of valid JSON is one
	}
	clean := string(redactText([]byte(plain), known))
	if clean == plain {
		return quoted
	}
	again, err := marshal(clean)
	if err != nil {
		return []byte(`"` + secret.Redacted + `"`)
	}
	return again
}

// marshal is json.Marshal without the escapes that are for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// shortest is the length of a known secret that is looked for: shorter ones would
// hit ordinary words.
const shortest = 8

// without takes known secrets out of a text.
func without(text []byte, known []secret.Text) []byte {
	for _, k := range known {
		if plain := k.Reveal(); len(plain) >= shortest {
			text = bytes.ReplaceAll(text, plain, []byte(secret.Redacted))
		}
	}
	return text
}

// redact is the second line of defence for one part, by the form of its file.
func redact(name string, text []byte, known []secret.Text) []byte {
	switch {
	case strings.HasSuffix(name, ".json"):
		return redactJSON(text, known)
	case strings.HasSuffix(name, ".jsonl"):
		var out bytes.Buffer
		for line := range bytes.Lines(text) {
			out.Write(redactJSON(bytes.TrimSuffix(line, []byte("\n")), known))
			out.WriteByte('\n')
		}
		return out.Bytes()
	}
	return redactText(text, known)
}
