// Package edgegw_test keeps the shape of the module: who may import whom, and
// why (ARCHITECTURE.md, "Who may import whom").
package edgegw_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	pathpkg "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every package has its place. One that has none fails the test: whoever adds
// it decides here what it may know.
var (
	leaves  = set("edgegw/sale", "edgegw/secret", "edgegw/health", "edgegw/card", "edgegw/doctor", "edgegw/audit", "edgegw/pacing", "edgegw/wording")
	parts   = set("edgegw/broker", "edgegw/relay", "edgegw/store", "edgegw/fiscal", "edgegw/devicekeys", "edgegw/config", "edgegw/siteca", "edgegw/clock", "edgegw/provision", "edgegw/tokens", "edgegw/people", "edgegw/backup", "edgegw/support", "edgegw/mirror")
	helpers = set("edgegw/fiscal/sandbox", "edgegw/simulator", "edgegw/broker/brokertest", "edgegw/bench") // stand-ins: true, but not the product
	others  = set("edgegw", "edgegw/admin", "edgegw/admin/page", "edgegw/gateway", "edgegw/cmd/edgegw", "edgegw/powercut", "edgegw/bench/beside", "edgegw/bench/fleet")
)

const (
	broker     = "edgegw/broker"
	brokertest = "edgegw/broker/brokertest"
	sandbox    = "edgegw/fiscal/sandbox"
	simulator  = "edgegw/simulator"
	admin      = "edgegw/admin"
	page       = "edgegw/admin/page"
	gateway    = "edgegw/gateway"
	command    = "edgegw/cmd/edgegw"
	powercut   = "edgegw/powercut"     // a rig around the product, and no part of it
	beside     = "edgegw/bench/beside" // another: the product beside what people would use instead
	fleet      = "edgegw/bench/fleet"  // another: thousands of relays on simulated time
)

// rule forbids edges. Test files are judged like the others, but for what
// testsMay lets through; a package's own tests may always import it.
type rule struct {
	name     string
	from, to func(path string) bool
	testsMay func(from, to string) bool // nil: nothing
	why      string
}

var rules = []rule{
	{
		name: "leaves import the standard library and wording only",
		from: leaves, to: both(not(standard), not(set("edgegw/wording"))),
		why: "everybody shares sale, secret, health, card, doctor, audit and pacing; whatever they import would come along everywhere. wording is a type of two fields, for what several languages are made of",
	}, {
		name: "sale and pacing do no I/O",
		from: set("edgegw/sale", "edgegw/pacing"), to: doesIO,
		testsMay: anything,
		why:      "what may become of a sale, and when, is decided in pure functions, so that a table can test it without a disk, a network or a clock",
	}, {
		name: "parts never import each other",
		from: parts, to: parts,
		// What the second journal must hold can only be seen in real files.
		testsMay: edge(set("edgegw/store"), set("edgegw/mirror")),
		why:      "each part says in an interface of its own what it needs from others, so that it can be tested, replaced and understood alone; gateway introduces them",
	}, {
		name: "parts do not know who puts them together",
		from: parts, to: set(admin, page, gateway),
		why: "arrows go down only: a part that calls back upwards cannot be built, closed or tested without the whole",
	}, {
		name: "admin sees the gateway through its own interface",
		from: set(admin), to: both(ours, not(leaves)),
		why: "the commands use admin's client; were it to know the parts, each command would link the broker and the database and could go round the running gateway",
	}, {
		name: "the page sees the gateway through admin only",
		from: set(page), to: both(ours, not(either(leaves, set(admin)))),
		why: "what may be done, and who may do it, is said once, for programs, commands and browsers",
	}, {
		name: "only the page draws",
		from: not(set(page)), to: either(module("rsc.io/qr"), set("html/template")),
		why: "the API's answers are JSON; what a browser gets is escaped in one place",
	}, {
		name: "only gateway and the command import the parts together",
		from: not(either(parts, set(gateway, command, powercut, beside, fleet))), to: parts, // fleet has a rule of its own
		why: "one place wires the parts and owns their lifetime; a second one would have its own idea of the order in which they end",
	}, {
		name: "only the command imports gateway",
		from: not(set(command, powercut)), to: set(gateway),
		why: "gateway is the top of the product; what imports it could not be used by it",
	}, {
		name: "nothing knows the rig",
		from: anyPath, to: set(powercut, beside, fleet),
		why: "they cut the power of a finished product, or measure it, from outside; what the product knew of them, it could fail by",
	}, {
		name: "the stand-in for OpenFiskal shares no code with the gateway",
		from: set(sandbox), to: not(standard),
		why: "a mistake that both shared would cancel out in every test that asks the stand-in what it holds",
	}, {
		name: "simulated devices know the gateway by its contract only",
		from: set(simulator), to: both(ours, not(leaves)),
		why: "a device that used the gateway's own code would repeat its mistakes, and would be no reference for firmware authors",
	}, {
		name: "the load sees the gateway by its contract and its process only",
		from: set("edgegw/bench"), to: both(ours, not(either(leaves, set(simulator)))),
		why: "what is measured is the product as it is shipped, from outside",
	}, {
		name: "a simulated fleet knows the relay and the vocabulary only",
		from: set(fleet), to: both(ours, not(either(leaves, set("edgegw/relay")))),
		why: "what it simulates is disk and network; whatever else it took from the product would make it a second gateway",
	}, {
		name: "brokertest knows the vocabulary only",
		from: set(brokertest), to: both(not(standard), not(leaves)),
		why: "it speaks MQTT byte by byte to see what mochi really does, so it must not speak it through mochi or a client library",
	}, {
		name: "only the command uses the stand-ins outside of tests",
		from: not(set(command, powercut, beside, "edgegw/bench")), to: helpers,
		testsMay: anything,
		why:      "the demo, the sandbox and the simulator are commands; a gateway that contained them could confuse them with the truth",
	}, {
		name: "only broker knows mochi",
		from: not(set(broker, beside)), to: module("github.com/mochi-mqtt"), // beside runs it bare, as a peer
		// The simulator's tests and the benchmarks need a broker that is not ours.
		testsMay: edge(set(simulator, gateway), anyPath),
		why:      "mochi has traps that are closed in one place, and is to be replaced in one place",
	}, {
		name: "only store knows the SQLite driver",
		from: not(set("edgegw/store")), to: module("modernc.org"),
		why: "one writer, one set of pragmas, one idea of what a failed fsync means",
	}, {
		name: "only store knows SQL",
		from: not(set("edgegw/store")), to: set("database/sql"),
		why: "a statement elsewhere would change a state without its line in the audit trail",
	}, {
		name: "only config knows koanf and YAML",
		from: not(set("edgegw/config")), to: either(module("github.com/knadh"), module("go.yaml.in")),
		why: "every other package gets plain structs that were checked as a whole",
	}, {
		name: "only the simulator knows an MQTT client",
		from: not(set(simulator)), to: module("github.com/eclipse"),
		testsMay: edge(set(broker), anyPath), // a client that is not ours against our broker
		why:      "the gateway is no MQTT client; its devices and its tests are",
	}, {
		name: "only the command knows the command line",
		from: not(set(command)), to: either(module("github.com/alecthomas"), module("golang.org/x/term")),
		why: "packages take values; flags and terminals are the command's business",
	}, {
		name: "only gateway knows Prometheus",
		from: not(set(gateway)), to: either(module("github.com/prometheus"), module("github.com/VictoriaMetrics")),
		why: "a part tells a function that it was given what happened, so that it can be tested and used without a registry; gateway decides what is counted and who may see it",
	}, {
		name: "only the command knows PKCS#12",
		from: not(set(command)), to: module("software.sslmate.com"),
		why: "the file is for a person to carry to a device; the gateway never holds its password",
	}, {
		name: "only provision and backup know age",
		from: not(set("edgegw/provision", "edgegw/backup", "edgegw/tokens")), to: module("filippo.io"),
		testsMay: edge(set(gateway, command), anyPath), // what a back office sends
		why:      "one place decides what is read of an encrypted file, and wipes it",
	}, {
		name: "nothing that is shipped knows a judge of schemas, transcripts or metrics",
		from: anyPath, to: either(either(module("github.com/santhosh-tekuri"), module("github.com/rogpeppe")), module("github.com/prometheus")),
		testsMay: edge(set(admin, gateway, command), anyPath),
		why:      "they are there to find faults before a release; a box that they could fail on would not be safer for them",
	}, {
		name: "no cgo",
		from: anyPath, to: set("C"),
		why: "the product is one static binary that runs from an empty image, on every board Go builds for",
	},
}

func set(paths ...string) func(string) bool {
	return func(p string) bool { return slices.Contains(paths, p) }
}
func not(f func(string) bool) func(string) bool { return func(p string) bool { return !f(p) } }
func both(f, g func(string) bool) func(string) bool {
	return func(p string) bool { return f(p) && g(p) }
}
func either(f, g func(string) bool) func(string) bool {
	return func(p string) bool { return f(p) || g(p) }
}
func module(prefix string) func(string) bool {
	return func(p string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }
}
func edge(from, to func(string) bool) func(string, string) bool {
	return func(f, t string) bool { return from(f) && to(t) }
}
func anyPath(string) bool       { return true }
func anything(_, _ string) bool { return true }
func ours(p string) bool        { return p == "edgegw" || strings.HasPrefix(p, "edgegw/") }

// standard reports whether p is of the standard library: its first part has no
// dot. "C" is not a package of it.
func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".") && !ours(p) && p != "C"
}

// doesIO lists packages by their first part: net is net/http, too.
func doesIO(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return slices.Contains([]string{"net", "os", "database", "log", "syscall", "embed"}, first)
}

// unit is one package as go list sees it.
type unit struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// judge gives one line for each forbidden edge, with its reason.
func judge(units []unit) (faults []string) {
	for _, u := range units {
		for _, to := range u.Imports {
			faults = append(faults, forbidden(u.ImportPath, to, false)...)
		}
		for _, to := range slices.Concat(u.TestImports, u.XTestImports) {
			faults = append(faults, forbidden(u.ImportPath, to, true)...)
		}
	}
	return faults
}

func forbidden(from, to string, test bool) (faults []string) {
	if from == to {
		return nil // an external test of its own package
	}
	for _, r := range rules {
		if !r.from(from) || !r.to(to) || test && r.testsMay != nil && r.testsMay(from, to) {
			continue
		}
		kind := ""
		if test {
			kind = "a test of "
		}
		return []string{fmt.Sprintf("%s%s imports %s, but %s: %s", kind, from, to, r.name, r.why)}
	}
	return nil
}

// list asks go list for every package of the module, as this system builds it.
func list(t *testing.T) (all []unit) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var u unit
		if err := d.Decode(&u); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		all = append(all, u)
	}
}

// files reads the imports of every Go file there is, one unit each: go list
// leaves out what is built for another system or with another tag. It also lets
// go test see that the result depends on these files, or it would take an old
// one from its cache.
func files(t *testing.T) (all []unit) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")):
			return fs.SkipDir // as go list does
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		u := unit{ImportPath: pathpkg.Join("edgegw", filepath.ToSlash(filepath.Dir(path)))}
		for _, spec := range file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if strings.HasSuffix(name, "_test.go") {
				u.TestImports = append(u.TestImports, to)
			} else {
				u.Imports = append(u.Imports, to)
			}
		}
		all = append(all, u)
		return nil
	})
	if err != nil {
		t.Fatalf("read the Go files: %v", err)
	}
	return all
}

func TestImports(t *testing.T) {
	units := append(list(t), files(t)...)
	faults := judge(units)
	slices.Sort(faults)
	for _, fault := range slices.Compact(faults) {
		t.Error(fault)
	}
	known := either(either(leaves, parts), either(helpers, others))
	imported, homeless := 0, []string{}
	for _, u := range units {
		if !known(u.ImportPath) && !slices.Contains(homeless, u.ImportPath) {
			homeless = append(homeless, u.ImportPath)
			t.Errorf("%s has no place in imports_test.go: give it one, and so decide what it may know", u.ImportPath)
		}
		imported += len(u.Imports)
	}
	if imported < 400 {
		t.Errorf("there are only %d imports in all: the module was not seen", imported)
	}
}

// planted holds an edge for every rule that forbids it, and neighbours that
// must stay allowed.
var planted = []struct {
	from, to string
	test     bool
	rule     string // "" is allowed
}{
	{"edgegw/health", "edgegw/sale", false, "leaves import the standard library and wording only"},
	{"edgegw/secret", "golang.org/x/crypto/chacha20poly1305", false, "leaves import the standard library and wording only"},
	{"edgegw/sale", "edgegw/secret", true, "leaves import the standard library and wording only"},
	{"edgegw/doctor", "edgegw/wording", false, ""},
	{"edgegw/wording", "edgegw/sale", false, "leaves import the standard library and wording only"},
	{"edgegw/sale", "os", false, "sale and pacing do no I/O"},
	{"edgegw/sale", "net/http", false, "sale and pacing do no I/O"},
	{"edgegw/sale", "os", true, ""},
	{"edgegw/pacing", "net", false, "sale and pacing do no I/O"},
	{"edgegw/pacing", "edgegw/sale", false, "leaves import the standard library and wording only"},
	{"edgegw/relay", "edgegw/pacing", false, ""},
	{"edgegw/relay", "edgegw/store", false, "parts never import each other"},
	{"edgegw/relay", "edgegw/store", true, "parts never import each other"},
	{"edgegw/store", "edgegw/mirror", false, "parts never import each other"},
	{"edgegw/store", "edgegw/mirror", true, ""},
	{"edgegw/broker", "edgegw/devicekeys", false, "parts never import each other"},
	{"edgegw/siteca", "edgegw/config", false, "parts never import each other"},
	{"edgegw/store", "edgegw/sale", false, ""},
	{"edgegw/store", "edgegw/gateway", true, "parts do not know who puts them together"},
	{"edgegw/config", "edgegw/admin", false, "parts do not know who puts them together"},
	{"edgegw/admin", "edgegw/store", false, "admin sees the gateway through its own interface"},
	{"edgegw/admin", "edgegw/gateway", true, "admin sees the gateway through its own interface"},
	{"edgegw/admin", "edgegw/health", false, ""},
	{"edgegw/admin/page", "edgegw/store", true, "the page sees the gateway through admin only"},
	{"edgegw/admin/page", "edgegw/admin", false, ""},
	{"edgegw/gateway", "rsc.io/qr", false, "only the page draws"},
	{"edgegw/admin/page", "html/template", false, ""},
	{"edgegw/simulator", "edgegw/broker", true, "only gateway and the command import the parts together"},
	{"edgegw/gateway", "edgegw/broker", false, ""},
	{"edgegw/cmd/edgegw", "edgegw/config", false, ""},
	{"edgegw/powercut", "edgegw/gateway", false, ""},
	{"edgegw/powercut", "edgegw/fiscal/sandbox", false, ""},
	{"edgegw/store", "edgegw/powercut", true, "nothing knows the rig"},
	{"edgegw/cmd/edgegw", "edgegw/powercut", false, "nothing knows the rig"},
	{"edgegw/gateway", "edgegw/bench/beside", true, "nothing knows the rig"},
	{"edgegw/gateway", "edgegw/bench/fleet", true, "nothing knows the rig"},
	{"edgegw/bench/fleet", "edgegw/relay", false, ""},
	{"edgegw/bench/fleet", "edgegw/store", true, "a simulated fleet knows the relay and the vocabulary only"},
	{"edgegw/bench/beside", "edgegw/broker", false, ""},
	{"edgegw/bench/beside", "edgegw/broker/brokertest", false, ""},
	{"edgegw/bench/beside", "github.com/mochi-mqtt/server/v2", false, ""},
	{"edgegw/bench/beside", "edgegw/gateway", false, "only the command imports gateway"},
	{"edgegw", "edgegw/gateway", true, "only the command imports gateway"},
	{"edgegw/fiscal/sandbox", "edgegw/sale", false, "the stand-in for OpenFiskal shares no code with the gateway"},
	{"edgegw/fiscal/sandbox", "edgegw/sale", true, "the stand-in for OpenFiskal shares no code with the gateway"},
	{"edgegw/simulator", "edgegw/admin", false, "simulated devices know the gateway by its contract only"},
	{"edgegw/simulator", "edgegw/sale", false, ""},
	{"edgegw/broker/brokertest", "github.com/mochi-mqtt/server/v2/packets", false, "brokertest knows the vocabulary only"},
	{"edgegw/gateway", "edgegw/fiscal/sandbox", false, "only the command uses the stand-ins outside of tests"},
	{"edgegw/broker", "edgegw/broker/brokertest", false, "only the command uses the stand-ins outside of tests"},
	{"edgegw/gateway", "edgegw/fiscal/sandbox", true, ""},
	{"edgegw/cmd/edgegw", "edgegw/simulator", false, ""},
	{"edgegw/gateway", "github.com/mochi-mqtt/server/v2", false, "only broker knows mochi"},
	{"edgegw/simulator", "github.com/mochi-mqtt/server/v2", false, "only broker knows mochi"},
	{"edgegw/simulator", "github.com/mochi-mqtt/server/v2", true, ""},
	{"edgegw/store", "github.com/mochi-mqtt/server/v2", true, "only broker knows mochi"},
	{"edgegw/gateway", "modernc.org/sqlite", true, "only store knows the SQLite driver"},
	{"edgegw/gateway", "database/sql", false, "only store knows SQL"},
	{"edgegw/gateway", "database/sql/driver", false, ""}, // the seam of the disk
	{"edgegw/cmd/edgegw", "github.com/knadh/koanf/v2", false, "only config knows koanf and YAML"},
	{"edgegw/broker", "github.com/eclipse/paho.golang/paho", false, "only the simulator knows an MQTT client"},
	{"edgegw/broker", "github.com/eclipse/paho.golang/paho", true, ""},
	{"edgegw/config", "github.com/alecthomas/kong", false, "only the command knows the command line"},
	{"edgegw/store", "github.com/prometheus/client_golang/prometheus", false, "only gateway knows Prometheus"},
	{"edgegw/fiscal", "github.com/prometheus/client_golang/prometheus/testutil", true, "only gateway knows Prometheus"},
	{"edgegw/store", "github.com/VictoriaMetrics/metrics", false, "only gateway knows Prometheus"},
	{"edgegw/gateway", "github.com/VictoriaMetrics/metrics", false, ""},
	{"edgegw/gateway", "github.com/prometheus/client_golang/prometheus", false, "nothing that is shipped knows a judge of schemas, transcripts or metrics"},
	{"edgegw/gateway", "github.com/prometheus/common/expfmt", true, ""},
	{"edgegw/gateway", "software.sslmate.com/src/go-pkcs12", false, "only the command knows PKCS#12"},
	{"edgegw/gateway", "filippo.io/age", false, "only provision and backup know age"},
	{"edgegw/gateway", "filippo.io/age", true, ""},
	{"edgegw/admin", "github.com/santhosh-tekuri/jsonschema/v6", false, "nothing that is shipped knows a judge of schemas, transcripts or metrics"},
	{"edgegw/store", "github.com/rogpeppe/go-internal/testscript", true, "nothing that is shipped knows a judge of schemas, transcripts or metrics"},
	{"edgegw/gateway", "github.com/santhosh-tekuri/jsonschema/v6", true, ""},
	{"edgegw/bench", "edgegw/admin", false, "the load sees the gateway by its contract and its process only"},
	{"edgegw/bench", "edgegw/simulator", false, ""},
	{"edgegw/store", "C", false, "no cgo"},
}

// A checker that lets everything through would pass TestImports for ever.
func TestPlantedEdgesAreFound(t *testing.T) {
	used := map[string]bool{}
	for _, p := range planted {
		used[p.rule] = true
		u := unit{ImportPath: p.from, Imports: []string{p.to}}
		if p.test {
			u = unit{ImportPath: p.from, XTestImports: []string{p.to}}
		}
		got := judge([]unit{{ImportPath: "edgegw/sale", Imports: []string{"strings"}}, u})
		switch {
		case p.rule == "" && len(got) != 0:
			t.Errorf("%s → %s (test: %v) must be allowed, got %q", p.from, p.to, p.test, got)
		case p.rule != "" && (len(got) != 1 || !strings.Contains(got[0], p.rule+": ")):
			t.Errorf("%s → %s (test: %v): got %q, want the rule %q", p.from, p.to, p.test, got, p.rule)
		}
	}
	for _, r := range rules {
		if !used[r.name] {
			t.Errorf("no planted edge proves the rule %q", r.name)
		}
	}
}
