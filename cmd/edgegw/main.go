// Package main is edgegw, the one command of the product: it reads flags and
// signals, calls the part that does the work and says how it went. It promises
// exit codes that a script can rely on (CONTRACT.md section 5), errors of one
// line each that end in what to do, and that no key passes over its command
// line or its output. Everything else is the business of the packages it calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"edgegw/card"
	"edgegw/config"
	"edgegw/secret"
)

func main() {
	var notAnew error
	if anew() || runs(os.Args[1:]) {
		notAnew = startAnew()
	}
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Environ(), notAnew: notAnew,
		outTerminal: isTerminal(os.Stdout), errTerminal: isTerminal(os.Stderr), inTerminal: isTerminal(os.Stdin)}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := a.main(ctx, stop, os.Args[1:])
	stop()
	os.Exit(code)
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// The exit codes of CONTRACT.md section 5.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitAttention = 3
)

// exitError is an error with an exit code of its own; every other one is a 1.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string { return e.cause.Error() }
func (e *exitError) Unwrap() error { return e.cause }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// errSaid ends a command with 1 where its output has told everything already.
var errSaid = errors.New("said already")

// app is what a command gets from the outside world.
type app struct {
	in                                   io.Reader
	out, err                             io.Writer
	env                                  []string
	inTerminal, outTerminal, errTerminal bool
	notAnew                              error // why freed memory is not overwritten

	patience time.Duration // for data that somebody else has; 0 is usualPatience
	waits    func()        // called before each wait for them; for tests

	globals globals
	ctx     context.Context // ends with the first SIGINT or SIGTERM; kong calls commands without one
	stop    func()          // gives the signals back: the next one kills
}

// globals are the flags that every command takes.
type globals struct {
	Config  string   `placeholder:"FILE" help:"Configuration file (default: $EDGEGW_CONFIG, ./edgegw.yaml, /etc/edgegw/edgegw.yaml)."`
	DataDir string   `placeholder:"DIR" help:"Data directory, before everything else that names one."`
	Set     []string `placeholder:"KEY=VALUE" sep:"none" help:"Any configuration key, e.g. --set mqtt.tls_listen=:8884."`
}

// commands is the command line.
type commands struct {
	globals

	Demo          demoCmd          `cmd:"" help:"See it all on this machine: a gateway, a stand-in for OpenFiskal, pumps and chargers that sell, and a cut uplink."`
	Run           runCmd           `cmd:"" help:"Run the gateway."`
	Status        statusCmd        `cmd:"" help:"The site in one look: what waits, why, and who must act."`
	History       historyCmd       `cmd:"" help:"The last 24 hours: when the uplink was down, how many sales began in each hour, how many waited."`
	Doctor        doctorCmd        `cmd:"" help:"Look at everything that a site needs, and say of each what to do."`
	Commission    commissionCmd    `cmd:"" help:"Walk through the proof that the site works, an uplink taken away included, and end in a report."`
	Explain       explainCmd       `cmd:"" help:"One sentence about a sale, a device, a register or the site, and what it is made from."`
	Device        deviceCmd        `cmd:"" help:"Add, list, show and remove devices."`
	Key           keyCmd           `cmd:"" help:"OpenFiskal keys: set, check, issue, rotate."`
	Import        importCmd        `cmd:"" help:"Add devices and keys in bulk, from CSV or an encrypted bundle."`
	Token         tokenCmd         `cmd:"" help:"Tokens for programs that use the API over a network: add, list, remove."`
	Audit         auditCmd         `cmd:"" help:"Who changed what, the newest first."`
	Export        exportCmd        `cmd:"" help:"A ZIP file for an auditor: sales, decisions, outages and the audit trail of a period."`
	Verify        verifyCmd        `cmd:"" help:"Check an export, or the site's audit trail: names the first record that was altered."`
	Acknowledge   acknowledgeCmd   `cmd:"" help:"Say that you know what became of a database that was made again after damage."`
	Backup        backupCmd        `cmd:"" help:"Write the site's data into one file, sealed with a passphrase, while sales come in."`
	Restore       restoreCmd       `cmd:"" help:"Put a backup back where no gateway runs. What was sent since is read back, and not sent again."`
	Settings      settingsCmd      `cmd:"" help:"What can be configured: list it, change it on trial, go back."`
	Person        personCmd        `cmd:"" help:"Who may use the technicians' page, and who is logged in: add, list, remove, new password, log out."`
	Claim         claimCmd         `cmd:"" help:"Whether somebody owns the technicians' page, and the code that claims it; --reset takes it from its owners."`
	Sales         salesCmd         `cmd:"" help:"List sales, the newest first; look for one by time, amount or receipt."`
	Sale          saleCmd          `cmd:"" help:"All that is known of one sale: events, attempts, answers, decisions, receipts."`
	Quarantine    quarantineCmd    `cmd:"" help:"What waits for a person's decision: list, show, retry, resolve, discard."`
	SupportBundle supportBundleCmd `cmd:"" help:"Write a file to send to whoever is to help: all that is known of the site, and no secret."`
	Sandbox       sandboxCmd       `cmd:"" help:"A stand-in for OpenFiskal alone, for firmware authors."`
	Simulate      simulateCmd      `cmd:"" help:"Pumps and chargers against any gateway."`
	Bench         benchCmd         `cmd:"" help:"Measure this box and its disk: acknowledgements, drain rate, bytes, memory, and what they mean for a site."`
	Healthcheck   healthcheckCmd   `cmd:"" help:"Whether the gateway does its job: a message goes from the MQTT port to the disk and back."`
	Completion    completionCmd    `cmd:"" help:"Print a script that completes commands, flags and ids, for bash, zsh or fish."`
	Version       versionCmd       `cmd:"" help:"Print the version."`

	Complete completeCmd `cmd:"" name:"__complete" hidden:""`
}

// runs reports whether the command line asks for the gateway. It prints nothing:
// what is wrong with the line is said when it is read for good.
func runs(args []string) bool {
	if !slices.Contains(args, "run") {
		return false // reading the line takes milliseconds, and is done once more
	}
	parser, err := kong.New(&commands{}, kong.Exit(func(int) {}), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		return false
	}
	parsed, err := parser.Parse(args)
	return err == nil && parsed.Command() == "run"
}

// helped is how kong's --help leaves Parse.
type helped int

func (a *app) main(ctx context.Context, stop func(), args []string) (code int) {
	a.ctx, a.stop = ctx, stop
	out := &output{w: a.out}
	a.out = out
	defer func() {
		if p := recover(); p != nil {
			h, ok := p.(helped)
			if !ok {
				panic(p)
			}
			code = max(int(h), a.report(out.lost(nil)))
		}
	}()
	var c commands
	parser, err := kong.New(&c, kong.Name("edgegw"),
		kong.Description("The gateway between the pumps and chargers of a site and OpenFiskal. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 needs attention."),
		kong.Writers(a.out, a.err), kong.Exit(func(code int) { panic(helped(code)) }),
		kong.PostBuild(withExamples), kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}))
	if err != nil {
		return a.report(fmt.Errorf("read the command line: %w", err))
	}
	parsed, err := parser.Parse(args)
	if lost := out.lost(nil); lost != nil {
		return a.report(lost) // the help text; kong takes it for wrong usage
	}
	if err != nil {
		return a.report(wrongUsage(err, parser.Model.Node))
	}
	a.globals = c.globals
	return a.report(out.lost(parsed.Run(a)))
}

// wrongUsage ends in the command whose help tells what was wrong.
func wrongUsage(err error, at *kong.Node) error {
	name := "edgegw"
	if p := (*kong.ParseError)(nil); errors.As(err, &p) {
		for _, part := range p.Context.Path {
			if part.Command != nil {
				at, name = part.Command, name+" "+part.Command.Name
			}
		}
	}
	if strings.HasPrefix(err.Error(), "expected one of ") { // nothing came behind it
		var all []string
		for _, child := range at.Children {
			if !child.Hidden {
				all = append(all, child.Name)
			}
		}
		return usage("which command? %s; see: %s --help", strings.Join(all, ", "), name)
	}
	if before, _, is := strings.Cut(err.Error(), ": expected duration but got "); is {
		return usage("%s needs a length of time, such as 90s, 5m or 1h; see: %s --help", before, name)
	}
	return usage("%w; see: %s --help", err, name)
}

// keys finds OpenFiskal keys and tokens. One typed where none belongs must not stand in
// the terminal's log a second time. A bare prefix is no key: our own hints name
// it.
var keys = regexp.MustCompile(`(?i)ofk_[a-z]+_[a-z0-9_-]{8,}|edgegw_[a-z2-7]{16,}`)

// report prints an error, one line for each part, and gives the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	code := exitFailed
	if e := (*exitError)(nil); errors.As(err, &e) {
		code = e.code
	}
	if faults := (config.Faults)(nil); errors.As(err, &faults) {
		code = exitUsage
	}
	if errors.Is(err, errSaid) {
		return code
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			text := "edgegw: " + clean(card.Mask(keys.ReplaceAllString(line, secret.Redacted)))
			fmt.Fprintln(a.err, wrap(text, widthOf(a.err), 0, len("edgegw: ")))
		}
	}
	return code
}

// load reads the configuration.
func (a *app) load() (config.Config, error) {
	flags, err := a.globals.flags()
	if err != nil {
		return config.Config{}, err
	}
	return config.Load(config.Options{File: a.globals.Config, Env: a.env, Flags: flags, Terminal: a.errTerminal})
}

// flags gives --set and --data-dir as configuration keys.
func (g globals) flags() (map[string]string, error) {
	flags := map[string]string{}
	for _, s := range g.Set {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			// The text is not repeated: somebody may have typed a secret there.
			return nil, usage("--set needs KEY=VALUE, e.g. --set mqtt.tls_listen=:8884")
		}
		if _, twice := flags[name]; twice {
			return nil, usage("--set %s stands twice; give it once", name)
		}
		flags[name] = value
	}
	if g.DataDir != "" {
		if _, twice := flags["data_dir"]; twice {
			return nil, usage("--data-dir and --set data_dir name it twice; give one of them")
		}
		flags["data_dir"] = g.DataDir
	}
	return flags, nil
}

// absolute is for paths that are shown: they must work from another folder.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
