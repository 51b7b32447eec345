package main

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestWrap(t *testing.T) {
	for _, row := range []struct {
		name, text string
		width      int
		want       string
	}{
		{"fits", "all is well", 40, "all is well"},
		{"no terminal", strings.Repeat("word ", 40) + "end", 0, strings.Repeat("word ", 40) + "end"},
		{"between words", "this register has no key yet: sales are taken and wait", 40, "this register has no key yet: sales are\n  taken and wait"},
		{"a command stays whole", "it has no key. Enter it: edgegw key set pump-01 --key-stdin", 40, "it has no key. Enter it:\n  edgegw key set pump-01 --key-stdin"},
		{"a command in the middle", "see: edgegw device list, edgegw sales, and then call somebody", 40, "see: edgegw device list, edgegw sales,\n  and then call somebody"},
		{"a command that is too long", "do: edgegw key set pump-01 --key-file /media/stick/station-12/key.txt", 40, "do:\n  edgegw key set pump-01 --key-file /media/stick/station-12/key.txt"},
		{"a command ends without a full stop", "Enter it: edgegw key set pump-01 --key-stdin.", 80, "Enter it: edgegw key set pump-01 --key-stdin"},
		{"umlauts are one wide", "Säule Säule Säule Säule Säule Säule Säule", 41, "Säule Säule Säule Säule Säule Säule Säule"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := wrap(row.text, row.width, 0, 2); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
			if strings.Join(strings.Fields(wrap(row.text, row.width, 0, 2)), " ") != strings.TrimSuffix(row.text, ".") {
				t.Error("words are lost")
			}
		})
	}
}

var wordsOf = regexp.MustCompile(`'[^']*'|\S+`)

// Every command has examples, and each of them is a command line that there is.
func TestExamplesParse(t *testing.T) {
	for name := range leaves(t) {
		if examples[name] == "" {
			t.Errorf("edgegw %s has no example: add one to examples", name)
		}
	}
	for name, text := range examples {
		if leaves(t)[name] == nil {
			t.Errorf("there is no edgegw %s", name)
		}
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "   #")
			line, _, _ = strings.Cut(line, "  #")
			line, _, _ = strings.Cut(line, " > ")
			line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "source <("), ")")
			line, ours := strings.CutPrefix(line, "edgegw ")
			words := wordsOf.FindAllString(line, -1)
			for i := range words {
				words[i] = strings.Trim(words[i], "'")
			}
			parser, err := kong.New(&commands{}, kong.Writers(io.Discard, io.Discard))
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := parser.Parse(words)
			if !ours || err != nil || commandName(parsed.Selected()) != name {
				t.Errorf("edgegw %s: the example %q: %v", name, line, err)
			}
			if len("  edgegw "+line) > 80 && name != "simulate" && name != "device add" {
				t.Errorf("edgegw %s: the example is wider than a terminal: %s", name, line)
			}
		}
	}
}
