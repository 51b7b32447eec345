package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

// completions asks as the scripts do.
func (b *box) completions(words ...string) (all []string) {
	b.t.Helper()
	o := edgegw(b.t, "", append([]string{"__complete", "fish", "--"}, append(slices.Clone(b.flags), words...)...)...)
	if o.code != 0 || o.err != "" {
		b.t.Errorf("completing %q: %+v", words, o)
	}
	for line := range strings.Lines(o.out) {
		word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		all = append(all, word)
	}
	return all
}

func completionBox(t *testing.T) (b *box, token string) {
	t.Helper()
	flags, _ := uplink(t, sandbox.Options{})
	b = newBox(t, flags...)
	b.start()
	for _, id := range []string{"pump-01", "pump-02", "kiosk-1"} {
		b.edgegw("device", "add", id, "--register", "reg_"+id, "--label", "Label of "+id).want(t, 0)
	}
	return b, decode[admin.MadeToken](t, b.edgegw("token", "add", "reader", "--scope", "read", "--json")).ID
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	b, token := completionBox(t)
	for _, row := range []struct {
		words string // the last is being typed
		want  string
	}{
		{"dev", "device"},
		{"device re", "remove replace revoke"},
		{"device show pu", "pump-01 pump-02"},
		{"device show pump-01 pu", ""},
		{"device add pump-03 --kind ", "pump charger kiosk"},
		{"device add pump-03 --kind=ch", "--kind=charger"},
		{"device add pump-03 --key-f", "--key-file"},
		{"device add pump-03 --key-file ", ":files"},
		{"device cert pump-01 --out x", ":folders"},
		{"import ", ":files"},
		{"sales --device k", "kiosk-1"},
		{"sales --state qu", "quarantined"},
		{"sales --json --js", ""},
		{"explain reg_p", "reg_pump-01 reg_pump-02"},
		{"explain kio", "kiosk-1"},
		{"key set --register reg_k", "reg_kiosk-1"},
		{"token remove ", token},
		{"quarantine show ", "--json --config --set --help"},
		{"completion z", "zsh"},
		{"__comp", ""},
		{"nonsense show pu", ""},
		{"device show -- pu", "pump-01 pump-02"},
		{"device show ofk_reg_live_0123456789", ""},
	} {
		got := b.completions(strings.Split(row.words, " ")...)
		want := strings.Fields(row.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q completes %q, want %q", row.words, got, want)
		}
	}
	if o := edgegw(t, "", append([]string{"__complete", "zsh", "--"}, append(slices.Clone(b.flags), "device", "show", "pump-01")...)...); o.out != "pump-01\tLabel of pump-01, pump\n" {
		t.Errorf("with its label: %q", o.out)
	}
}

// Where no gateway runs, or the configuration is wrong, nothing is said and no
// data is opened.
func TestCompletionIsSilentWhereNothingRuns(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	if got := b.completions("device", "show", ""); strings.Join(got, " ") != "--json --help --config --set" {
		t.Errorf("completes %q", got)
	}
	if got := b.completions("--set", "nonsense=1", "device", "show", "p"); got != nil {
		t.Errorf("completes %q", got)
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("a completion has made %s: %v", b.dir, err)
	}
}

// The shells themselves: somebody types, and presses the tabulator.
func TestCompletionInRealShells(t *testing.T) {
	t.Parallel()
	b, _ := completionBox(t)
	bin := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(bin, "edgegw")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "key file.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []struct {
		name    string
		args    []string
		prepare string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, "source <(edgegw completion bash)"},
		{"zsh", []string{"-f", "-i"}, "autoload -U compinit && compinit -D -u; source <(edgegw completion zsh)"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			path, err := exec.LookPath(shell.name)
			if err != nil {
				t.Skipf("NOT TESTED: completion in %s, which is not installed (apt-get install %s)", shell.name, shell.name)
			}
			s := startShell(t, bin, path, shell.args...)
			s.say("export EDGEGW_DATA_DIR=" + b.dir + "; " + shell.prepare)
			for typed, want := range map[string][]string{
				"edgegw devi":                             {"edgegw", "device"},
				"edgegw device show pump-02":              {"edgegw", "device", "show", "pump-02"},
				"edgegw device show k":                    {"edgegw", "device", "show", "kiosk-1"},
				"edgegw device add x --kind=ch":           {"edgegw", "device", "add", "x", "--kind=charger"},
				"edgegw device add x --kind ki":           {"edgegw", "device", "add", "x", "--kind", "kiosk"},
				"edgegw sales --devi":                     {"edgegw", "sales", "--device"},
				"edgegw explain reg_k":                    {"edgegw", "explain", "reg_kiosk-1"},
				"edgegw device add x --key-file key":      {"edgegw", "device", "add", "x", "--key-file", "key file.txt"},
				"edgegw device add x --key-file=key":      {"edgegw", "device", "add", "x", "--key-file=key file.txt"},
				"edgegw device show nothing-like-this-is": {"edgegw", "device", "show", "nothing-like-this-is"},
			} {
				if got := s.completed(typed); !slices.Equal(got, want) {
					t.Errorf("%q and the tabulator: %q, want %q", typed, got, want)
				}
			}
		})
	}
	t.Run("fish", func(t *testing.T) {
		path, err := exec.LookPath("fish")
		if err != nil {
			t.Skip("NOT TESTED: completion in fish, which is not installed (apt-get install fish)")
		}
		for typed, want := range map[string]string{
			"edgegw devi":                        "device\tAdd, list, show and remove devices\n",
			"edgegw device show pump-02":         "pump-02\tLabel of pump-02, pump\n",
			"edgegw device add x --kind=ch":      "--kind=charger\n",
			"edgegw device add x --key-file key": "key file.txt\n",
			"edgegw device show nothing":         "",
		} {
			c := exec.CommandContext(t.Context(), path, "--no-config", "-c", "edgegw completion fish | source; complete -C '"+typed+"'")
			c.Dir, c.Env = bin, append(command(t.Context()).Env, "PATH="+bin+":"+os.Getenv("PATH"), "EDGEGW_DATA_DIR="+b.dir, "HOME="+bin)
			out, err := c.Output()
			if err != nil || string(out) != want {
				t.Errorf("%q in fish completes %q, %v, want %q", typed, out, err, want)
			}
		}
	})
}

// shell is an interactive one behind a terminal of its own.
type shell struct {
	t    *testing.T
	tty  *os.File
	seen bytes.Buffer
	n    int
}

// openTerminal makes one: what a person sees and types, and what a program has.
func openTerminal(t *testing.T, columns uint16) (tty, side *os.File) {
	t.Helper()
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	raw, err := tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	err = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: columns})
		number, _ = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	})
	if err != nil {
		t.Fatal(err)
	}
	side, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return tty, side
}

func startShell(t *testing.T, bin, path string, args ...string) *shell {
	t.Helper()
	tty, side := openTerminal(t, 500)
	c := exec.CommandContext(t.Context(), path, args...)
	c.Dir = bin
	c.Env = append(command(t.Context()).Env, "PATH="+bin+":"+os.Getenv("PATH"), "TERM=xterm", "HOME="+bin, "PS1=$ ", "INPUTRC=/dev/null")
	c.Stdin, c.Stdout, c.Stderr = side, side, side
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = side.Close()
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return &shell{t: t, tty: tty}
}

// say types a line and waits until it was carried out.
func (s *shell) say(line string) {
	s.t.Helper()
	s.n++
	s.until(fmt.Sprintf("%s; printf 'said[%%s]' $((%d+1000))\r", line, s.n), fmt.Sprintf("said[%d]", s.n+1000))
}

// completed types, presses the tabulator, and has the shell print the words of the
// line as it is then, between two numbers that nobody typed.
func (s *shell) completed(typed string) []string {
	s.t.Helper()
	s.n++
	const toBegin, toEnd = "\x01", "\x05"
	end := fmt.Sprintf("[%d]", s.n+3000)
	text := s.until(fmt.Sprintf("%s\t%s $((%d+3000))%sprintf '[%%s]' $((%d+2000)) \r", typed, toEnd, s.n, toBegin, s.n), end)
	_, text, _ = strings.Cut(text, fmt.Sprintf("[%d][", s.n+2000))
	text, _, _ = strings.Cut(text, "]"+end)
	return strings.Split(text, "][")
}

// until types, and reads up to a word.
func (s *shell) until(typing, word string) string {
	s.t.Helper()
	_ = s.tty.SetReadDeadline(time.Now().Add(deadline))
	if _, err := s.tty.WriteString(typing); err != nil {
		s.t.Fatal(err)
	}
	some := make([]byte, 4096)
	for !strings.Contains(s.seen.String(), word) {
		n, err := s.tty.Read(some)
		s.seen.Write(some[:n])
		if err != nil {
			s.t.Fatalf("%v; the shell said:\n%q", err, s.seen.String())
		}
	}
	text := s.seen.String()
	s.seen.Reset()
	return text
}

// On a terminal an error is broken between words, and a command that it ends in
// stays whole, to be copied.
func TestErrorsOnATerminal(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.edgegw("device", "add", "pump-01", "--register", "reg_1").want(t, 0)
	tty, side := openTerminal(t, 60)
	c := command(t.Context(), append(slices.Clone(b.flags), "key", "check", "pump-01")...)
	c.Stdin, c.Stdout, c.Stderr = side, side, side
	if err := c.Run(); c.ProcessState.ExitCode() != 1 {
		t.Fatal(err)
	}
	said := make([]byte, 4096)
	_ = tty.SetReadDeadline(time.Now().Add(deadline))
	n, err := tty.Read(said)
	if want := "edgegw: register reg_1 has no key yet. Enter it:\r\n        edgegw key set pump-01 --key-stdin\r\n"; err != nil || string(said[:n]) != want {
		t.Errorf("%v, %q, want %q", err, said[:n], want)
	}
}
