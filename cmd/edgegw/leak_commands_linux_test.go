package main

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"edgegw/admin"
)

// leakCommands has each command of edgegw as it is meant, beside what commands
// does with all of them. Those that run for long, and have secrets of their own,
// are only used wrongly here.
var leakCommands = map[string][][]string{
	"demo":               nil,
	"run":                {},
	"sandbox":            nil,
	"simulate":           nil,
	"version":            {{"version"}, {"version", "--json"}},
	"completion":         {{"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}},
	"status":             {{"status"}, {"status", "--check"}, {"status", "--json"}},
	"history":            {{"history"}, {"history", "--json"}},
	"explain":            {{"explain"}, {"explain", "pump-01"}, {"explain", "kiosk-03", "--json"}, {"explain", "reg_3"}, {"explain", "kiosk-03/k1"}},
	"healthcheck":        {{"healthcheck"}},
	"doctor":             {{"doctor"}, {"doctor", "--json"}},
	"backup":             {{"backup", "-o", "/none/site.backup", "--passphrase-file", "/none/passphrase"}},
	"restore":            {{"restore", "/none/site.backup", "--passphrase-file", "/none/passphrase"}},
	"support-bundle":     {}, // it writes a file: see bundle
	"device add":         {{"device", "add", "pump-01", "--register", "reg_9", "--key-stdin"}},
	"device list":        {{"device", "list"}, {"device", "list", "--json"}, {"device", "list", "--for-rotation"}},
	"device show":        {{"device", "show", "pump-01"}, {"device", "show", "kiosk-03", "--json"}, {"device", "show", "pump-99"}},
	"device remove":      {{"device", "remove", "pump-99"}},
	"acknowledge":        {{"acknowledge"}},
	"bench":              {}, // it takes its time, and has a site of its own
	"commission":         {}, // it waits for somebody to unplug the uplink
	"device forget-gaps": {{"device", "forget-gaps", "pump-01"}},

	"device identify":     {{"device", "identify", "pump-01"}, {"device", "identify", "pump-99", "--json"}},
	"device test":         {{"device", "test", "pump-01"}, {"device", "test", "kiosk-03", "--payloads"}, {"device", "test", "kiosk-03", "--json"}, {"device", "test", "pump-99"}},
	"device forget-cards": {{"device", "forget-cards", "pump-01"}},
	"device disable":      {{"device", "disable", "pump-99"}},
	"device enable":       {{"device", "enable", "pump-01"}},
	"device replace":      {{"device", "replace", "pump-99"}},
	"device password":     {{"device", "password", "pump-99"}},
	"device cert":         {{"device", "cert", "pump-99"}},
	"device revoke":       {{"device", "revoke", "pump-01"}},
	"key check":           {{"key", "check", "pump-01"}, {"key", "check", "reg_3", "--json"}},
	"key issue":           {{"key", "issue", "pump-01", "--key-stdin", "--organization", "org_sandbox"}},
	"key rotate":          {{"key", "rotate", "pump-99", "--key-stdin", "--organization", "org_sandbox"}},
	"token add":           {{"token", "add", "scraper", "--scope", "metrics", "--expires", "90d"}, {"token", "add", "back-office", "--scope", "read"}},
	"token list":          {{"token", "list"}, {"token", "list", "--json"}},
	"token remove":        {{"token", "remove", "NOTTHERE"}},
	"audit":               {{"audit"}, {"audit", "--json"}, {"audit", "--who", "gateway"}, {"audit", "--from", "yesterday"}},
	"export":              {{"export", "-o", "/none/export.zip"}, {"export", "--from", "yesterday", "-o", "/none/export.zip"}},
	"verify":              {{"verify"}, {"verify", "--json"}, {"verify", "/none.zip"}},
	"claim":               {{"claim"}, {"claim", "--json"}, {"claim", "--reset"}},
	"person add":          {{"person", "add", "bert", "--role", "auditor", "--password-stdin"}, {"person", "add", "Bert", "--role", "owner"}},
	"person list":         {{"person", "list"}, {"person", "list", "--json"}},
	"person remove":       {{"person", "remove", "nobody"}},
	"person password":     {{"person", "password", "nobody", "--password-stdin"}},
	"person sessions":     {{"person", "sessions"}, {"person", "sessions", "--json"}},
	"person logout":       {{"person", "logout", "nobody"}, {"person", "logout", "--session", "AAAAAAAA"}},
	"settings list":       {{"settings"}, {"settings", "--json"}},
	"settings set":        {{"settings", "set", "site.name=other"}, {"settings", "set", "data_dir=/none", "--yes"}},
	"settings reset":      {{"settings", "reset", "site.name", "--yes"}},
	"settings confirm":    {{"settings", "confirm"}},
	"settings undo":       {{"settings", "undo"}},
	"settings history":    {{"settings", "history"}, {"settings", "history", "--json"}},
	"settings rollback":   {{"settings", "rollback", "99", "--yes"}},
	"import":              {{"import", "--recipient"}, {"import", "/none.csv"}, {"import", "-"}},

	"key set":            {{"key", "set", "pump-99", "--key-stdin"}, {"key", "set", "reg_5", "--key-stdin"}, {"key", "set", "--platform", "--forget"}},
	"sales":              {{"sales"}, {"sales", "--json"}, {"sales", "--state", "waiting"}, {"sales", "--amount", "1..500", "--from", "2026-01-01"}, {"sales", "--receipt", "2*"}},
	"sale":               {{"sale", "kiosk-03/k1"}, {"sale", "kiosk-03/k1", "--payloads"}, {"sale", "kiosk-03/k1", "--payloads", "--json"}, {"sale", "pump-01/none"}},
	"quarantine list":    {{"quarantine", "list"}, {"quarantine", "list", "--json"}},
	"quarantine show":    {{"quarantine", "show", "1"}, {"quarantine", "show", "1", "--json"}},
	"quarantine retry":   {{"quarantine", "retry", "1", "--reason", "why not"}},
	"quarantine resolve": {{"quarantine", "resolve", "1", "--reason", "why not", "--operation", "op_1"}},
	"quarantine discard": {{"quarantine", "discard", "1", "--reason", "no sale"}},
}

// commands runs every command as it is meant, and wrongly as well: with a flag
// that does not exist, and with a key where none belongs, behind it, as a flag's
// value, and as a configuration key.
func (l *leakSite) commands(wrongly bool) {
	t := l.t
	parser, err := kong.New(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		name := leaf.Name
		for up := leaf.Parent; up.Parent != nil; up = up.Parent {
			name = up.Name + " " + name
		}
		proper, known := leakCommands[name]
		if !known {
			t.Errorf("edgegw %s is not tried: add it to leakCommands", name)
		}
		words, key := strings.Fields(name), l.keys["pump-05"]
		tries := proper
		if wrongly {
			tries = append(tries, append(words[:len(words):len(words)], "--nonsense"), append(words[:len(words):len(words)], key), append(words[:len(words):len(words)], "--key", key))
		}
		if wrongly && proper != nil { // the others read no configuration
			tries = append(tries, append([]string{"--set", key + "=1"}, words...), append([]string{"--config", "/none/" + key}, words...))
		}
		for _, args := range tries {
			if o := l.says(key, args...); o.out+o.err == "" {
				t.Errorf("edgegw %s: nothing to search", name)
			}
		}
	}
}

// ask gets every page that can be got.
func (l *leakSite) ask() {
	socket := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(l.dir, admin.SocketName))
	}}}
	page := "http://" + l.flags[slices.IndexFunc(l.flags, func(f string) bool {
		return strings.HasPrefix(f, "http.listen=127.0.0.1:") && !strings.HasSuffix(f, ":0")
	})][len("http.listen="):]
	get := func(c *http.Client, url string, into *bytes.Buffer, status int) {
		l.t.Helper()
		r, err := c.Get(url)
		if err != nil {
			l.t.Fatal(err)
		}
		defer r.Body.Close()
		if err := r.Header.Write(into); err != nil {
			l.t.Fatal(err)
		}
		if _, err := io.Copy(into, r.Body); err != nil || r.StatusCode != status {
			l.t.Errorf("%s: %d, %v", url, r.StatusCode, err)
		}
	}
	for _, path := range []string{"/status", "/history", "/devices", "/devices/pump-01", "/devices/kiosk-03", "/explain", "/explain?subject=kiosk-03", "/sales", "/sales?state=waiting", "/sales?amount=1..99999&document_number=2*", "/sales/kiosk-03/k1?payloads=true",
		"/quarantine?state=all", "/quarantine/1", "/keys", "/tokens", "/sessions", "/audit", "/verify", "/openapi.json"} {
		get(socket, "http://edgegw"+admin.Prefix+path, &l.answers, 200)
	}
	l.unpack(func(into *bytes.Buffer) { get(socket, "http://edgegw"+admin.Prefix+"/export", into, 200) })
	get(socket, "http://edgegw"+admin.Prefix+"/sales?"+l.keys["pump-05"]+"=1", &l.answers, 400)
	l.bundle(socket)
	get(socket, "http://edgegw/metrics", &l.metrics, 200)
	get(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, page+"/metrics", &l.metrics, 200)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/debug/requests"} {
		get(socket, "http://edgegw"+path, &l.answers, 404)
		get(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, page+path, &l.answers, 404)
	}
}

// bundle asks for a support bundle, and keeps what is in it.
func (l *leakSite) bundle(socket *http.Client) {
	l.t.Helper()
	l.unpack(func(into *bytes.Buffer) {
		r, err := socket.Post("http://edgegw"+admin.Prefix+"/support-bundle", "", nil)
		if err != nil {
			l.t.Fatal(err)
		}
		defer r.Body.Close()
		if _, err := io.Copy(into, r.Body); err != nil {
			l.t.Fatal(err)
		}
	})
}

// unpack adds the files of an archive to what is searched.
func (l *leakSite) unpack(get func(*bytes.Buffer)) {
	var archive bytes.Buffer
	get(&archive)
	z, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			l.t.Fatal(err)
		}
		if _, err := io.Copy(&l.answers, r); err != nil {
			l.t.Fatal(err)
		}
	}
}
