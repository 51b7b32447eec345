package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

// The transcripts in testdata/script are what a person types, and sees. Beside
// testscript's own words they have these:
//
//	edgegw ARGS              runs it; exit code 0, and nothing on stderr
//	exits N edgegw ARGS      exit code N; on stderr lines that begin with edgegw:
//	upto WORDS edgegw ARGS   runs it until its output has the words, then SIGTERM; exit code 0
//	gateway [ARGS]           starts edgegw run, and waits until it answers
//	stop                     ends it, which must be clean
//	standin REG…             starts OpenFiskal's stand-in; the key of each register is in REG.key, the platform key in platform.key
//	simulated FILE           runs edgegw simulate with the credentials in it, and waits until a device is online
//	shows WORDS              waits until that has printed them
//	refuse N                 the stand-in refuses the end of the next N sales
//	login NAME FILE          somebody logs in on the page, in a Firefox on Linux, with the password in the file
//	uplink down|up           the stand-in cannot be reached, or can again
//	rows N NAME…             stdout is a JSON array of N flat objects with these names (CONTRACT.md ruling 5)
//	object NAME…             stdout is one JSON object with these names
//	keep NAME FIELD          puts a field of the JSON on stdout, or of its first row, into an environment variable
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup:               prepareTranscript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"edgegw":    func(ts *testscript.TestScript, _ bool, args []string) { exits(ts, exitDone, args) },
			"exits":     exitsCmd,
			"upto":      uptoCmd,
			"gateway":   func(ts *testscript.TestScript, _ bool, args []string) { siteOf(ts).start(ts, args) },
			"stop":      func(ts *testscript.TestScript, _ bool, _ []string) { siteOf(ts).stop() },
			"standin":   func(ts *testscript.TestScript, _ bool, args []string) { siteOf(ts).standin(ts, args) },
			"simulated": func(ts *testscript.TestScript, _ bool, args []string) { siteOf(ts).simulate(ts, args[0]) },
			"shows":     func(ts *testscript.TestScript, _ bool, args []string) { siteOf(ts).shows(ts, args[0]) },

			"refuse": refuseCmd,
			"login":  loginCmd,
			"uplink": func(ts *testscript.TestScript, _ bool, args []string) { siteOf(ts).service.SetDown(args[0] == "down") },
			"rows":   rowsCmd,
			"object": objectCmd,
			"keep":   keepCmd,
		},
	})
}

// transcriptSite is what a transcript is played on.
type transcriptSite struct {
	dir     string
	service *sandbox.Service
	stop    func()
	devices *lockedBuffer // what edgegw simulate says
}

type transcriptKey struct{}

func siteOf(ts *testscript.TestScript) *transcriptSite {
	return ts.Value(transcriptKey{}).(*transcriptSite)
}

func prepareTranscript(env *testscript.Env) error {
	dir, err := os.MkdirTemp("", "edgegw-test-") // the work directory is too long for a socket
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(dir) })
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(os.Args[0], filepath.Join(bin, "edgegw")); err != nil {
		return err
	}
	s := &transcriptSite{dir: filepath.Join(dir, "data"), stop: func() {}}
	env.Defer(func() { s.stop() })
	env.Values[transcriptKey{}] = s
	env.Vars = append(env.Vars, "PATH="+bin+string(os.PathListSeparator)+env.Getenv("PATH"), asCommand+"=1", "GORACE=atexit_sleep_ms=0", "USER=technician",
		"EDGEGW_DATA_DIR="+s.dir, "EDGEGW_SITE_NAME=Station 12", "EDGEGW_ALLOW_VOLATILE_DATA=true", "EDGEGW_HTTP_LISTEN=127.0.0.1:0", "EDGEGW_MQTT_TLS_LISTEN=127.0.0.1:0",
		"EDGEGW_OPENFISKAL_PROXY=none", "EDGEGW_OPENFISKAL_TIMEOUT=5s", "EDGEGW_STORE_MIN_FREE_BYTES=0", "EDGEGW_OPENFISKAL_BASE_URL=https://127.0.0.1:1/v1")
	return nil
}

func (s *transcriptSite) standin(ts *testscript.TestScript, registers []string) {
	s.service = sandbox.New(sandbox.Options{})
	server, err := s.service.ListenTLS("127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = server.Close() })
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), server.CAPEM(), 0o600))
	ts.Setenv("EDGEGW_OPENFISKAL_BASE_URL", server.URL())
	ts.Setenv("EDGEGW_OPENFISKAL_CA_FILE", ts.MkAbs("ca.pem"))
	ts.Check(os.WriteFile(ts.MkAbs("platform.key"), []byte(s.service.PlatformKey()+"\n"), 0o600))
	for _, r := range registers {
		if r, bare := strings.CutPrefix(r, "bare:"); bare {
			ts.Check(s.service.AddBareRegister(r))
			continue
		}
		ts.Check(os.WriteFile(ts.MkAbs(r+".key"), []byte(s.service.MustAddRegister(r)+"\n"), 0o600))
	}
}

func refuseCmd(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	siteOf(ts).service.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Answer, Status: 422, Times: n,
		Body: `{"object":"error","code":"validation_error","message":"no such tax rate","param":"line_items[0]"}`})
}

func loginCmd(ts *testscript.TestScript, _ bool, args []string) {
	b, err := admin.Dial(filepath.Join(siteOf(ts).dir, admin.SocketName))
	ts.Check(err)
	defer b.Close()
	st, err := b.Status(context.Background())
	ts.Check(err)
	form := url.Values{"name": {args[0]}, "password": {strings.TrimSpace(ts.ReadFile(args[1]))}}
	r, err := http.NewRequest(http.MethodPost, st.Page[0]+"/login", strings.NewReader(form.Encode()))
	ts.Check(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	answer, err := http.DefaultTransport.RoundTrip(r) // a redirect is the answer
	ts.Check(err)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther || len(answer.Cookies()) != 1 {
		ts.Fatalf("%s cannot log in: %s", args[0], answer.Status)
	}
}

// transcriptEnv is what every command of a transcript sees.
func transcriptEnv(ts *testscript.TestScript) (env []string) {
	for _, name := range []string{"PATH", asCommand, "GORACE", "USER", "HOME", "TMPDIR", "EDGEGW_DATA_DIR", "EDGEGW_SITE_NAME", "EDGEGW_ALLOW_VOLATILE_DATA", "EDGEGW_HTTP_LISTEN",
		"EDGEGW_HTTP_TLS_LISTEN", "EDGEGW_MQTT_TLS_LISTEN", "EDGEGW_OPENFISKAL_PROXY", "EDGEGW_OPENFISKAL_TIMEOUT", "EDGEGW_STORE_MIN_FREE_BYTES", "EDGEGW_OPENFISKAL_BASE_URL",
		"EDGEGW_OPENFISKAL_CA_FILE", "EDGEGW_OPENFISKAL_TOPOLOGY", "EDGEGW_OPENFISKAL_ORGANIZATION"} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (s *transcriptSite) start(ts *testscript.TestScript, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	c := exec.CommandContext(ctx, os.Args[0], append([]string{"run"}, args...)...)
	c.Dir, c.Env = ts.MkAbs("."), transcriptEnv(ts)
	var log bytes.Buffer
	c.Stderr = &log
	ts.Check(c.Start())
	s.stop = func() {
		s.stop = func() {}
		_ = c.Process.Signal(syscall.SIGTERM)
		err := c.Wait()
		cancel()
		if err != nil {
			ts.Fatalf("the gateway ended with %v:\n%s", err, log.String())
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		client, err := admin.Dial(filepath.Join(s.dir, admin.SocketName))
		if err == nil {
			_ = client.Close()
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("the gateway does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// lockedBuffer is what a program has said so far.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// simulate lets devices connect that sell as good as never.
func (s *transcriptSite) simulate(ts *testscript.TestScript, credentials string) {
	c := exec.Command(os.Args[0], "simulate", "--credentials", ts.MkAbs(credentials), "--pace", "10000h")
	s.devices = &lockedBuffer{}
	c.Env, c.Stdout, c.Stderr = transcriptEnv(ts), s.devices, s.devices
	ts.Check(c.Start())
	ts.Defer(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
	})
	s.shows(ts, " online")
}

func (s *transcriptSite) shows(ts *testscript.TestScript, words string) {
	tick, limit := time.NewTicker(10*time.Millisecond), time.After(deadline)
	defer tick.Stop()
	for !strings.Contains(s.devices.String(), words) {
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("the devices never say %q:\n%s", words, s.devices.String())
		}
	}
}

func exitsCmd(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[0])
	if err != nil || code == exitDone || len(args) < 2 || args[1] != "edgegw" {
		ts.Fatalf("exits N edgegw ARGS, where N is not 0")
	}
	exits(ts, code, args[2:])
}

// farLine tells how far long work is, on what is no terminal.
var farLine = regexp.MustCompile(`(?m)^[a-z]+: [0-9]+ %, .*\n`)

func exits(ts *testscript.TestScript, want int, args []string) {
	code := exitDone
	if err := ts.Exec("edgegw", args...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	said := ts.ReadFile("stderr")
	said = farLine.ReplaceAllString(said, "") // long work on a slow machine
	if want == exitDone && said != "" {
		ts.Fatalf("done, and says on stderr: %s", said)
	}
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "edgegw: ") {
			ts.Fatalf("a line on stderr that does not begin with edgegw: %s", line)
		}
	}
}

// uptoCmd is for what ends with a signal only.
func uptoCmd(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], args[2:]...)
	out := &awaited{word: args[0], came: make(chan struct{})}
	c.Dir, c.Env, c.Stdout, c.Stderr = ts.MkAbs("."), transcriptEnv(ts), out, out
	ts.Check(c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		ts.Fatalf("it ended (%v) without %q:\n%s", err, args[0], out.String())
	case <-out.came:
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		ts.Fatalf("%v:\n%s", err, out.String())
	}
	_, err := ts.Stdout().Write([]byte(out.String()))
	ts.Check(err)
}

// awaited keeps an output, and says when a word has come.
type awaited struct {
	word string
	came chan struct{}
	once sync.Once

	mu   sync.Mutex
	text bytes.Buffer
}

func (w *awaited) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if strings.Contains(w.text.String(), w.word) {
		w.once.Do(func() { close(w.came) })
	}
	return len(b), nil
}

func (w *awaited) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func rowsCmd(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	var rows []map[string]any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &rows); err != nil || rows == nil {
		ts.Fatalf("no array of objects: %v", err)
	}
	if len(rows) != n {
		ts.Fatalf("%d rows, want %d", len(rows), n)
	}
	for _, row := range rows {
		for name, value := range row {
			if !flat(value) && name != "status" { // what a device says of itself is free JSON
				ts.Fatalf("%s is not flat: %v", name, value)
			}
		}
		has(ts, row, args[1:])
	}
}

// flat is a word, a number or a list of them.
func flat(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return false
	case []any:
		return !slices.ContainsFunc(v, func(one any) bool {
			_, list := one.([]any)
			return list || !flat(one)
		})
	}
	return true
}

func objectCmd(ts *testscript.TestScript, _ bool, args []string) {
	var one map[string]any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &one); err != nil {
		ts.Fatalf("no object: %v", err)
	}
	has(ts, one, args)
}

func has(ts *testscript.TestScript, row map[string]any, names []string) {
	for _, name := range names {
		if _, there := row[name]; !there {
			ts.Fatalf("%s is missing; there are %v", name, slices.Sorted(maps.Keys(row)))
		}
	}
}

func keepCmd(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	if rows, is := v.([]any); is && len(rows) > 0 {
		v = rows[0]
	}
	row, _ := v.(map[string]any)
	text, is := row[args[1]].(string)
	if !is {
		ts.Fatalf("there is no word %s: %v", args[1], v)
	}
	ts.Setenv(args[0], text)
}

// leaves are the commands that a person can give, with what they take.
func leaves(t *testing.T) map[string]*kong.Node {
	t.Helper()
	parser, err := kong.New(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*kong.Node{}
	for _, leaf := range parser.Model.Leaves(true) {
		name := leaf.Name
		for up := leaf.Parent; up.Parent != nil; up = up.Parent {
			name = up.Name + " " + name
		}
		all[name] = leaf
	}
	return all
}

var (
	transcriptLine = regexp.MustCompile(`^(?:(exits) [123] |(upto) (?:'[^']*'|\S+) )?edgegw (.*)$`)
	asJSONFlag     = regexp.MustCompile(`(^| )--json( |$)`)
	helpFlag       = regexp.MustCompile(`(^| )--help( |$)`)
	judgesWords    = regexp.MustCompile(`^(! )?(stdout|stderr|exists) `)
	judgesJSON     = regexp.MustCompile(`^(rows|object) `)
)

// shown is what transcripts have of a command: that it does what it is for, its JSON,
// and what it says when it is used wrongly, with its exit code. Each counts only where
// the next line judges what came.
type shown struct{ done, asJSON, wrong bool }

// elsewhere are commands of which a transcript shows a part by other means.
var elsewhere = map[string]struct {
	shown
	why string
}{
	"commission": {shown{done: true, asJSON: true}, "it waits until somebody has unplugged the uplink and plugged it in again: TestCommissioning is that walk, with both reports"},
	"run":        {shown{done: true}, "it ends with a signal only: the word gateway starts it and waits until it answers, and stop demands that it ends with exit code 0"},
}

// transcribed adds what a transcript shows.
func transcribed(text string, all map[string]*kong.Node, got map[string]shown) {
	lines := strings.Split(text, "\n")
	for i, line := range lines[:len(lines)-1] {
		m := transcriptLine.FindStringSubmatch(line)
		if m == nil || helpFlag.MatchString(m[3]) {
			continue
		}
		words := strings.Fields(m[3])
		name := words[0]
		if all[name] == nil && len(words) > 1 {
			name += " " + words[1]
		}
		s, next := got[name], lines[i+1]
		switch {
		case m[1] != "":
			s.wrong = s.wrong || judgesWords.MatchString(next)
		case asJSONFlag.MatchString(m[3]):
			s.asJSON = s.asJSON || judgesJSON.MatchString(next)
		default:
			s.done = s.done || judgesWords.MatchString(next)
		}
		got[name] = s
	}
}

// Every command has a transcript of how it is used, of its JSON, and of an error with
// its exit code.
func TestEveryCommandHasATranscript(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	all, got := leaves(t), map[string]shown{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		transcribed(string(text), all, got)
	}
	for name, leaf := range all {
		s, e := got[name], elsewhere[name]
		if e.done && s.done || e.asJSON && s.asJSON || e.wrong && s.wrong {
			t.Errorf("edgegw %s: a transcript shows it; take it out of elsewhere", name)
		}
		takesJSON := slices.ContainsFunc(leaf.Flags, func(f *kong.Flag) bool { return f.Name == "json" })
		for what, missing := range map[string]bool{"how it is used": !s.done && !e.done, "its --json": takesJSON && !s.asJSON && !e.asJSON, "an error with its exit code": !s.wrong && !e.wrong} {
			if missing {
				t.Errorf("edgegw %s: no transcript shows and judges %s: write one in testdata/script", name, what)
			}
		}
	}
	for name, e := range elsewhere {
		if all[name] == nil || e.why == "" {
			t.Errorf("edgegw %s is no command, or nobody says why a transcript cannot show it", name)
		}
	}
}

// The test before finds what is missing: a command of which nothing is judged counts
// for nothing.
func TestATranscriptCountsOnlyWhatItJudges(t *testing.T) {
	all := leaves(t)
	for text, want := range map[string]shown{
		"edgegw device list\nstdout .\n":                {done: true},
		"edgegw device list\nedgegw status\n":           {},
		"edgegw device list --help\nstdout .\n":         {},
		"edgegw device list --json\nrows 0\n":           {asJSON: true},
		"edgegw device list --json\nstdout .\n":         {},
		"exits 1 edgegw device list\nstderr .\n":        {wrong: true},
		"exits 1 edgegw device list\n\n":                {},
		"exits 1 edgegw device list --json\nstderr .\n": {wrong: true},
		"exits 0 edgegw device list\nstdout .\n":        {},
		"# edgegw device list\nstdout .\n":              {},
		"upto 'a b' edgegw device list\nexists x\n":     {done: true},
	} {
		got := map[string]shown{}
		if transcribed(text, all, got); got["device list"] != want {
			t.Errorf("%q: %+v, want %+v", text, got["device list"], want)
		}
	}
}
