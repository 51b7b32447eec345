package main

import (
	"embed"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion is our own, from kong's model: what there is for kong completes
// through bash's machinery in every shell, without descriptions, and knows no
// difference between a value behind = and one behind a space.

//go:embed completion
var completionScripts embed.FS

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints a script for the shell. What it completes it asks of this program.
func (c *completionCmd) Run(a *app) error {
	script, err := completionScripts.ReadFile("completion/" + c.Shell)
	if err != nil {
		return fmt.Errorf("read the script: %w", err)
	}
	_, err = a.out.Write(script)
	return err
}

// completeCmd is what the scripts call.
type completeCmd struct {
	Shell string   `arg:"" enum:"bash,zsh,fish"`
	Words []string `arg:"" optional:""`
}

// Run prints what can stand in the place of the last word, a line each: the word,
// a tab, what it is. ":files" and ":folders" leave it to the shell. What goes
// wrong prints nothing: it would stand in the middle of somebody's typing.
func (c *completeCmd) Run(a *app) error {
	parser, err := kong.New(&commands{})
	if err != nil || len(c.Words) == 0 {
		return nil
	}
	t := typing{node: parser.Model.Node, at: c.Words[len(c.Words)-1], set: &a.globals}
	for _, word := range c.Words[:len(c.Words)-1] {
		t.read(word)
	}
	for _, w := range t.suggest(a, c.Shell) {
		fmt.Fprintln(a.out, strings.TrimRight(clean(w.word)+"\t"+clean(w.means), "\t"))
	}
	return nil
}

// typing is a command line up to the word that is being typed.
type typing struct {
	node       *kong.Node
	flag       *kong.Flag // its value comes next
	positional int        // how many there were
	bare       bool       // -- was there
	used       []string   // flags
	set        *globals   // what leads to the gateway
	at         string
}

func (t *typing) read(word string) {
	name, value, whole := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	switch {
	case t.flag != nil && word == "=": // bash takes it for a word
	case t.flag != nil:
		t.take(t.flag, word)
		t.flag = nil
	case word == "--" && !t.bare:
		t.bare = true
	case strings.HasPrefix(word, "--") && !t.bare:
		f := t.find(name)
		if f == nil {
			return
		}
		t.used = append(t.used, f.Name)
		if whole {
			t.take(f, value)
		} else if !f.IsBool() {
			t.flag = f
		}
	case strings.HasPrefix(word, "-") && word != "-" && !t.bare:
	default:
		for _, child := range t.node.Children {
			if child.Name == word {
				t.node = child
				return
			}
		}
		t.positional++
	}
}

// take keeps what says which gateway is meant.
func (t *typing) take(f *kong.Flag, value string) {
	switch f.Name {
	case "config":
		t.set.Config = value
	case "data-dir":
		t.set.DataDir = value
	case "set":
		t.set.Set = append(t.set.Set, value)
	}
}

// flags are those of the command and of all above it.
func (t *typing) flags() (all []*kong.Flag) {
	for n := t.node; n != nil; n = n.Parent {
		all = append(all, n.Flags...)
	}
	return all
}

func (t *typing) find(name string) *kong.Flag {
	for _, f := range t.flags() {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// suggestion is one word that can come.
type suggestion struct{ word, means string }

// Words that leave it to the shell.
const (
	suggestFiles   = ":files"
	suggestFolders = ":folders"
)

func (t *typing) suggest(a *app, shell string) []suggestion {
	name, value, whole := strings.Cut(t.at, "=")
	switch {
	case t.flag != nil:
		return begins(a.values(t.flag.Value), strings.TrimPrefix(t.at, "="), "")
	case whole && strings.HasPrefix(name, "--") && !t.bare:
		f := t.find(strings.TrimPrefix(name, "--"))
		if f == nil {
			return nil
		}
		if shell == "bash" { // it completes what stands behind the =
			name = ""
		} else {
			name += "="
		}
		return begins(a.values(f.Value), value, name)
	case strings.HasPrefix(t.at, "-") && !t.bare:
		return begins(t.names(), t.at, "")
	}
	var all []suggestion
	for _, child := range t.node.Children {
		if !child.Hidden {
			all = append(all, suggestion{child.Name, sentence(child.Help)})
		}
	}
	if list := t.node.Positional; len(list) > 0 && (t.positional < len(list) || list[len(list)-1].IsCumulative()) {
		all = append(all, a.values(list[min(t.positional, len(list)-1)])...)
	}
	if len(all) == 0 && t.at == "" && !t.bare {
		all = t.names()
	}
	return begins(all, t.at, "")
}

// names are the flags that can come.
func (t *typing) names() (all []suggestion) {
	for _, f := range t.flags() {
		again := false
		for _, u := range t.used {
			again = again || u == f.Name && !f.IsCumulative()
		}
		if !f.Hidden && !again {
			all = append(all, suggestion{"--" + f.Name, sentence(f.Help)})
		}
	}
	return all
}

func begins(all []suggestion, with, before string) (some []suggestion) {
	for _, s := range all {
		if s.word == suggestFiles || s.word == suggestFolders {
			some = append(some, s)
		} else if strings.HasPrefix(s.word, with) {
			some = append(some, suggestion{before + s.word, s.means})
		}
	}
	return some
}

// sentence is the first one of a help text.
func sentence(help string) string {
	first, _, _ := strings.Cut(help, "; ")
	first, _, _ = strings.Cut(first, ". ")
	return strings.TrimSuffix(first, ".")
}
