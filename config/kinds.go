package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"edgegw/secret"
)

// kind is a type of value: which YAML scalars may carry it, and how its text is
// read. The error of parse ends the line a person reads, so it says what to
// write instead; it must not repeat the value where that may be a secret.
type kind struct {
	name  string
	tags  []string // of YAML; the environment and flags have text only
	parse func(string) (any, error)
}

var (
	textTags   = []string{"!!str"}
	numberTags = []string{"!!int", "!!float"} // YAML calls a very large whole number a float
	// A bare number is let through to the kinds that can explain better than the
	// parser of the file what is missing: a unit, or a colon.
	unitTags = []string{"!!str", "!!int", "!!float"}
)

var (
	name         = kind{"text", textTags, parseName}
	path         = kind{"path", textTags, parsePath}
	requiredPath = kind{"path", textTags, required(parsePath)}
	listenOrOff  = kind{"address", unitTags, parseListen}
	hosts        = kind{"list", textTags, parseHosts}
	baseURL      = kind{"URL", textTags, required(parseBaseURL)}
	proxy        = kind{"URL", textTags, required(parseProxy)}
	organization = kind{"organization id", textTags, parseOrganization}
	kek          = kind{"secret", textTags, required(parseKEK)}
	boolean      = kind{"true or false", []string{"!!bool"}, required(parseBool)}
	level        = kind{"one of debug, info, warn, error", textTags, required(parseLevel)}
)

func required(parse func(string) (any, error)) func(string) (any, error) {
	return func(s string) (any, error) {
		if s == "" {
			return nil, errors.New("is empty")
		}
		return parse(s)
	}
}

// checkText refuses what no name, path or address contains on purpose.
func checkText(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("contains a control character")
	case strings.TrimSpace(s) != s:
		return errors.New("begins or ends with a space")
	case len(s) > 4096:
		return errors.New("is longer than 4096 bytes")
	}
	return nil
}

func parseName(s string) (any, error) {
	if err := checkText(s); err != nil {
		return nil, err
	}
	if n := utf8.RuneCountInString(s); n < 1 || n > 64 {
		return nil, errors.New("must be 1 to 64 characters long")
	}
	return s, nil
}

func parsePath(s string) (any, error) {
	if err := checkText(s); err != nil {
		return nil, err
	}
	if strings.HasPrefix(s, "~") {
		return nil, errors.New("begins with ~, which only a shell understands: write the whole path")
	}
	return s, nil
}

func parseOrganization(s string) (any, error) { return s, CheckOrganization(s) }

// CheckOrganization refuses what cannot stand in a header, or is a key. Its error goes on
// after the name of what it is about, and repeats nothing.
func CheckOrganization(s string) error {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return errNoOrganization
		}
	}
	if len(s) > 128 || strings.HasPrefix(strings.ToLower(s), "ofk_") {
		return errNoOrganization
	}
	return nil
}

var errNoOrganization = errors.New("is not an organization id, such as org_01HXYZ")

// kekSize is the length of a key-encryption key in bytes (CONTRACT.md section 4).
const kekSize = 32

// parseKEK takes the forms that devicekeys reads, so that a mistyped KEK is
// found with the rest of the configuration. Its error never quotes the text.
func parseKEK(s string) (any, error) {
	var raw []byte
	var err error
	switch len(s) {
	case hex.EncodedLen(kekSize):
		raw, err = hex.DecodeString(s)
	case base64.StdEncoding.EncodedLen(kekSize), base64.RawStdEncoding.EncodedLen(kekSize):
		standard := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimSuffix(s, "="))
		raw, err = base64.RawStdEncoding.Strict().DecodeString(standard)
	}
	// One byte again and again is somebody's place holder.
	if err != nil || len(raw) != kekSize || bytes.Count(raw, raw[:1]) == kekSize {
		return nil, errors.New("must be 32 random bytes in hex (64 digits) or base64 (44 characters); make one with: openssl rand -hex 32")
	}
	return secret.FromString(s), nil
}

func parseBool(s string) (any, error) {
	if s != "true" && s != "false" {
		return nil, fmt.Errorf("%s is neither true nor false", quote(s))
	}
	return s == "true", nil
}

func parseLevel(s string) (any, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	l, ok := levels[s]
	if !ok {
		return nil, fmt.Errorf("%s is not one of debug, info, warn, error", quote(s))
	}
	return l, nil
}

func choice(words ...string) kind {
	list := strings.Join(words, ", ")
	return kind{"one of " + list, textTags, required(func(s string) (any, error) {
		for _, w := range words {
			if s == w {
				return s, nil
			}
		}
		return nil, fmt.Errorf("%s is not one of %s", quote(s), list)
	})}
}

func integer(least, most int) kind {
	return kind{"whole number", numberTags, required(func(s string) (any, error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number", quote(s))
		}
		if n < least || n > most {
			return nil, fmt.Errorf("%d is not within %d to %d", n, least, most)
		}
		return n, nil
	})}
}

// Units of sizes. The decimal ones (MB) are left out: half of the people who
// write them mean the other one.
var sizeUnits = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

func size(least, most int64) kind {
	return kind{"size", unitTags, required(func(s string) (any, error) {
		digits := strings.TrimRight(s, "BKMGTikbmgt ")
		unit, ok := sizeUnits[strings.TrimSpace(s[len(digits):])]
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || !ok {
			return nil, fmt.Errorf("%s is not a size: write whole bytes, or a unit as in 256 MiB (KiB, MiB, GiB, TiB)", quote(s))
		}
		if n > math.MaxInt64/unit || n*unit > most || n*unit < least {
			return nil, fmt.Errorf("%s is not within %d to %d bytes", quote(s), least, most)
		}
		return n * unit, nil
	})}
}

func duration(least, most time.Duration) kind {
	return kind{"duration", unitTags, required(func(s string) (any, error) {
		d, err := parseDuration(s)
		if err != nil {
			return nil, err
		}
		if d < least || d > most {
			return nil, fmt.Errorf("%s is not within %s to %s", quote(s), showDuration(least), showDuration(most))
		}
		return d, nil
	})}
}

// ParseDuration reads a duration as people write it in the configuration.
func ParseDuration(s string) (time.Duration, error) { return parseDuration(s) }

// parseDuration takes what time.ParseDuration takes, and whole days before it:
// 90d, 1d12h. A number without a unit is refused: read as nanoseconds it would
// turn a time limit into nothing.
func parseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("%s has no unit: write for example 10s, 5m, 20h", quote(s))
	}
	bad := fmt.Errorf("%s is not a duration: write for example 10s, 5m, 20h, 90d", quote(s))
	var total time.Duration
	rest := s
	if count, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(count, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/int64(day)) {
			return 0, bad
		}
		total, rest = time.Duration(n)*day, after
		if rest == "" {
			return total, nil
		}
		if rest[0] == '-' || rest[0] == '+' {
			return 0, bad
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || total+d < total && d > 0 {
		return 0, bad
	}
	return total + d, nil
}

// showDuration writes 24h0m0s as people do.
func showDuration(d time.Duration) string {
	if d > day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}

// parseListen takes host:port with a numeric port; "" is off. Port 0 asks the
// system for a free one.
func parseListen(s string) (any, error) {
	if s == "" {
		return s, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || checkText(s) != nil {
		return nil, fmt.Errorf("%s is not an address: write host:port or :port, as in :8883", quote(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return nil, fmt.Errorf("%s is not a port within 0 to 65535", quote(port))
	}
	if host != "" && !validHost(host) {
		return nil, fmt.Errorf("%s is not a host name or an IP address", quote(host))
	}
	return s, nil
}

// parseHosts takes names and addresses separated by commas.
func parseHosts(s string) (any, error) {
	list := []string{}
	if s == "" {
		return list, nil
	}
	for h := range strings.SplitSeq(s, ",") {
		h = strings.TrimSpace(h)
		if !validHost(h) {
			return nil, fmt.Errorf("%s is not a host name or an IP address", quote(h))
		}
		list = append(list, h)
	}
	return list, nil
}

// validHost takes IP addresses and DNS names. A name of digits and dots alone
// is a mistyped address.
func validHost(h string) bool {
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	if len(h) > 253 || strings.Trim(h, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// parseBaseURL refuses everything that could send a register key to the wrong
// place or in clear. It does not repeat the value, which may hold a password.
func parseBaseURL(s string) (any, error) {
	u, err := parseURL(s)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must begin with https://")
	case u.User != nil:
		return nil, errors.New("must not contain a user name or a password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#"):
		return nil, errors.New("must not contain ? or #")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("http:// would send register keys in clear: use https:// (http:// is for this machine itself, as in http://127.0.0.1:9090)")
	}
	return strings.TrimRight(s, "/"), nil
}

func parseProxy(s string) (any, error) {
	if s == ProxySystem || s == ProxyNone {
		return secret.FromString(s), nil
	}
	u, err := parseURL(s)
	if err != nil {
		return nil, fmt.Errorf("is neither system nor none, and %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return nil, errors.New("must be system, none, or a URL that begins with http://, https:// or socks5://")
	}
	return secret.FromString(s), nil
}

// parseURL takes absolute URLs with a proper host. Its errors never carry the
// text, unlike those of url.Parse.
func parseURL(s string) (*url.URL, error) {
	if err := checkText(s); err != nil {
		return nil, err
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Opaque != "" || strings.Contains(s, " ") {
		return nil, errors.New("is not a URL such as https://host/path")
	}
	if !validHost(u.Hostname()) {
		return nil, errors.New("has a host that is neither a host name nor an IP address")
	}
	if p := u.Port(); p != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, errors.New("has a port that is not within 1 to 65535")
		}
	}
	return u, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// quote shows a value in one short line, whatever it contains.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return strconv.QuoteToASCII(string(r[:most])) + "…"
	}
	return strconv.Quote(s)
}
