package secret

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// dyingVariable makes this test die in the way that it names.
const dyingVariable = "SECRET_TEST_DIES_BY"

// holder has a secret where a careless type may have it, and prints as it is.
type holder struct {
	Key Text
	in  *holder
}

// failure is an error that carries the secret along.
type failure struct{ key Text }

func (f *failure) Error() string { return fmt.Sprintf("refused: %v %+v %#v", f.key, f.key, f) }

// deaths are the ways in which a program can end with a secret in its hands.
var deaths = map[string]func(Text){
	"the secret":           func(k Text) { panic(k) },
	"a pointer to it":      func(k Text) { panic(&k) },
	"its text":             func(k Text) { panic(fmt.Sprintf("%v", k)) },
	"a struct":             func(k Text) { panic(holder{k, &holder{Key: k}}) },
	"the text of a struct": func(k Text) { panic(fmt.Sprintf("%+v %#v %s", holder{k, nil}, &holder{k, nil}, []Text{k})) },
	"an error":             func(k Text) { panic(&failure{k}) },
	"an error that wraps": func(k Text) {
		panic(fmt.Errorf("set key %v: %w", k, errors.Join(&failure{k}, fmt.Errorf("%q %x", k, k))))
	},
	"a panic after a panic": func(k Text) { defer func() { panic(recover()) }(); panic(k) },
	"a map without a place": func(k Text) { put(nil, k) },
	"bytes in its arguments": func(k Text) {
		beyond(k, k.Reveal(), string(k.Reveal()))
	},
}

func put(m map[string]Text, k Text) { m["x"] = k }

//go:noinline
func beyond(k Text, b []byte, s string) byte { return b[len(s)+len(k.Reveal())] }

// Whatever a program dies of, the secret that it holds is not in what Go's
// runtime prints.
func TestNoPanicShowsIt(t *testing.T) {
	if name := os.Getenv(dyingVariable); name != "" {
		deaths[name](FromString(canary))
		return
	}
	for name := range deaths {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoPanicShowsIt$")
			c.Env = append(os.Environ(), dyingVariable+"="+name, "GOTRACEBACK=system")
			said, err := c.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(string(said), "goroutine ") {
				t.Fatalf("it did not die: %v\n%s", err, said)
			}
			for _, form := range []string{canary, fmt.Sprintf("%x", canary), strings.Trim(fmt.Sprint([]byte(canary)), "[]")} {
				if strings.Contains(strings.ToLower(string(said)), strings.ToLower(form)) {
					t.Errorf("printed as %q in\n%s", form, said)
				}
			}
		})
	}
}
