package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	kyaml "github.com/knadh/koanf/parsers/yaml"
	"go.yaml.in/yaml/v3"
)

// maxFile is the longest file that is read, in bytes.
const maxFile = 1 << 20

// strictYAML is a koanf parser that remembers lines and refuses what koanf's
// own lets through: unknown keys, empty sections (which would wipe defaults),
// numbers where a unit is due. What it finds goes into faults, all of it;
// Unmarshal itself never fails. Values are handed on as text, so that file,
// environment and flags are read by the same rules.
type strictYAML struct {
	*kyaml.YAML
	file   string
	lines  map[string]int // of known keys
	values map[string]string
	faults Faults
}

func newStrictYAML(file string) *strictYAML {
	return &strictYAML{YAML: kyaml.Parser(), file: file, lines: map[string]int{}, values: map[string]string{}}
}

func (p *strictYAML) fault(line int, key, format string, args ...any) {
	where := p.file
	if line > 0 {
		where += ":" + strconv.Itoa(line)
	}
	p.faults = append(p.faults, Fault{Where: where, Key: key, Problem: fmt.Sprintf(format, args...), line: line})
}

// Unmarshal gives the values of known keys, nested as koanf wants them.
func (p *strictYAML) Unmarshal(b []byte) (map[string]any, error) {
	text, ok := p.checkBytes(b)
	if !ok {
		return map[string]any{}, nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, more yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return map[string]any{}, nil // an empty file, or comments only: nothing is configured
	case err != nil:
		p.syntax(err)
		return map[string]any{}, nil
	}
	p.walk(document.Content[0], "")
	if err := decoder.Decode(&more); err == nil {
		p.fault(more.Line, "", "a second YAML document (---) is not allowed")
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err)
	}
	return nest(p.values), nil
}

// checkBytes finds what editors leave behind, names it better than a YAML
// parser does, and gives the text without it, so that other faults are found in
// the same run. It is false where parsing makes no sense.
func (p *strictYAML) checkBytes(b []byte) ([]byte, bool) {
	if len(b) > maxFile {
		p.fault(0, "", "is longer than %d bytes", maxFile)
		return nil, false
	}
	if after, found := bytes.CutPrefix(b, []byte("\xef\xbb\xbf")); found {
		p.fault(1, "", "begins with a byte order mark: save it as UTF-8 without BOM")
		b = after
	}
	if i := bytes.IndexByte(b, '\r'); i >= 0 {
		p.fault(1+bytes.Count(b[:i], []byte("\n")), "", `has Windows line ends (CR LF): save it with Unix line ends, for example with: sed -i 's/\r$//' %s`, p.file)
		b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	if !utf8.Valid(b) {
		p.fault(0, "", "is not UTF-8")
		return nil, false
	}
	tabs := false
	for i, line := range strings.Split(string(b), "\n") {
		body := strings.TrimLeft(line, " \t")
		if strings.ContainsRune(line[:len(line)-len(body)], '\t') && body != "" && body[0] != '#' {
			p.fault(i+1, "", "is indented with a tab: use spaces")
			tabs = true
		}
	}
	return b, !tabs
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (p *strictYAML) syntax(err error) {
	text := err.Error()
	m := syntaxLine.FindStringSubmatch(text)
	line := 0
	if m != nil {
		line, _ = strconv.Atoi(m[1]) // no number: the line stays 0, which names the file alone
		text = text[len(m[0]):]
	}
	p.fault(line, "", "is not YAML: %s", strings.ReplaceAll(text, "\n", " "))
}

// walk goes through one mapping. Keys are told apart by their full path.
func (p *strictYAML) walk(node *yaml.Node, section string) {
	if node.Kind != yaml.MappingNode {
		if section == "" && node.Tag == "!!null" {
			return // "---" or "~" alone
		}
		p.fault(node.Line, section, "must be a list of lines such as site: or data_dir: ./data")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], node.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			p.fault(k.Line, section, "has a key that is not a plain word")
			continue
		}
		at := k.Value
		if section != "" {
			at = section + "." + k.Value
		}
		if first, again := seen[k.Value]; again {
			p.fault(k.Line, shownKey(at), "is there twice: first in line %d", first)
			continue
		}
		seen[k.Value] = k.Line
		p.entry(k, v, at)
	}
}

// entry judges one key and its value.
func (p *strictYAML) entry(k, v *yaml.Node, at string) {
	known, isKey := findKey(at)
	shown := shownKey(at)
	switch {
	case strings.Contains(k.Value, "."):
		if isKey {
			p.fault(k.Line, shown, "write the part before the dot as a section of its own, and %s indented below it", quote(last(at)))
			return
		}
		p.fault(k.Line, shown, "%s", unknown(at, func(k key) string { return k.path }))
	case v.Kind == yaml.AliasNode || v.Anchor != "":
		p.fault(v.Line, shown, "uses a YAML anchor (& or *): write the value out")
	case isKey:
		p.value(known, v)
	case isSection(at):
		p.section(k, v, at)
	case v.Kind == yaml.MappingNode && len(v.Content) > 0 && strings.Count(at, ".") < 4:
		p.walk(v, at) // each key below an unknown section gets its own suggestion
	default:
		p.fault(k.Line, shown, "%s", unknown(at, func(k key) string { return k.path }))
	}
}

func (p *strictYAML) section(k, v *yaml.Node, at string) {
	switch {
	case v.Kind == yaml.MappingNode && len(v.Content) > 0:
		p.walk(v, at)
	case v.Kind == yaml.MappingNode, v.Tag == "!!null":
		p.fault(k.Line, at, "the section is empty: write a key below it or remove the line")
	default:
		p.fault(k.Line, at, "is a section: write its keys indented below it")
	}
}

// typeNames is what people call the scalars of YAML.
var typeNames = map[string]string{"!!str": "text", "!!int": "a number", "!!float": "a number with a fraction",
	"!!bool": "true or false", "!!timestamp": "a date"}

func (p *strictYAML) value(k key, v *yaml.Node) {
	switch {
	case v.Kind == yaml.MappingNode:
		p.fault(v.Line, k.path, "takes one value (%s), not a section", k.kind.name)
		return
	case v.Kind == yaml.SequenceNode:
		p.fault(v.Line, k.path, "takes one value (%s), not a list", k.kind.name)
		return
	case v.Tag == "!!null":
		p.fault(v.Line, k.path, `has no value: write one, "" for an empty one, or remove the line`)
		return
	}
	if !tagFits(k.kind.tags, v.Tag) {
		p.fault(v.Line, k.path, "must be %s%s, not %s", withArticle(k.kind.name), quotesHint(k.kind.tags), cmp.Or(typeNames[v.Tag], "a value of another type"))
		return
	}
	p.lines[k.path] = v.Line
	p.values[k.path] = v.Value
}

func tagFits(allowed []string, tag string) bool {
	for _, t := range allowed {
		if t == tag {
			return true
		}
	}
	return false
}

// withArticle puts "a" before the kinds that are one thing.
func withArticle(kind string) string {
	switch {
	case kind == "text", strings.Contains(kind, " of "), strings.Contains(kind, " or "):
		return kind
	case kind == "address":
		return "an " + kind
	}
	return "a " + kind
}

func quotesHint(allowed []string) string {
	if allowed[0] == "!!str" {
		return " (put it in quotes)"
	}
	return " without quotes"
}

// shownKey is a path as it may stand in an error line: a key is what its writer
// made it.
func shownKey(at string) string {
	if q := quote(at); len(q) != len(at)+2 {
		return q
	}
	return at
}

// nest turns {"a.b": x} into {"a": {"b": x}}.
func nest(flat map[string]string) map[string]any {
	out := map[string]any{}
	for path, text := range flat {
		section, leaf, found := strings.Cut(path, ".")
		if !found {
			out[path] = text
			continue
		}
		below, ok := out[section].(map[string]any)
		if !ok {
			below = map[string]any{}
			out[section] = below
		}
		below[leaf] = text
	}
	return out
}
