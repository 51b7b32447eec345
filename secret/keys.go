package secret

import "regexp"

// keys finds what looks like an OpenFiskal key.
var keys = regexp.MustCompile(`(?i)ofk_[a-z]+_[a-z0-9_-]{8,}`)

// WithoutKeys gives text of others in which no OpenFiskal key stands: one may be in
// it by mistake, and is shown nowhere (CONTRACT.md promise 6).
func WithoutKeys(text []byte) []byte { return keys.ReplaceAll(text, []byte(Redacted)) }
