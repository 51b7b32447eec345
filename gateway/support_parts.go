package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/doctor"
	"edgegw/store"
	"edgegw/support"
)

// errNoGateway is why a part is missing that only a gateway that runs can give.
var errNoGateway = errors.New("no gateway runs: this was read from the data directory")

// boxParts can be made of every site, also where its data cannot be opened.
func (k *control) boxParts() []support.Part {
	return []support.Part{
		{Name: "config.json", What: "every setting with its origin; secrets are shown as redacted", Make: func(context.Context) ([]byte, error) {
			return support.JSON(struct {
				File     string          `json:"file"`
				Settings []config.Origin `json:"settings"`
			}{k.config.File, k.config.Origins()}, nil)
		}},
		{Name: "build.json", What: "this program and its process: versions, system, memory", Make: func(context.Context) ([]byte, error) { return support.JSON(k.build(), nil) }},
		{Name: "files.json", What: "what lies in data_dir: names, sizes and modes, no content", Make: func(context.Context) ([]byte, error) {
			return support.JSON(filesOf(k.config.DataDir))
		}},
	}
}

func (k *control) processParts() []support.Part {
	return []support.Part{{Name: "goroutines.txt", What: "where each goroutine of this process stands: functions and addresses", Make: func(context.Context) ([]byte, error) {
		var b bytes.Buffer
		err := pprof.Lookup("goroutine").WriteTo(&b, 1) // names of functions; no values
		return b.Bytes(), err
	}}}
}

// build tells of the program and its process.
type build struct {
	Version      string            `json:"version"`
	Go           string            `json:"go"`
	OS           string            `json:"os"`
	Arch         string            `json:"arch"`
	Settings     map[string]string `json:"settings"` // of the build
	Modules      map[string]string `json:"modules"`
	CPUs         int               `json:"cpus"`
	PID          int               `json:"pid"`
	Gateway      bool              `json:"gateway"` // else it is the command that made this
	Uptime       string            `json:"uptime,omitempty"`
	Goroutines   int               `json:"goroutines"`
	HeapBytes    uint64            `json:"heap_bytes"`
	HeapObjects  uint64            `json:"heap_objects"`
	SystemBytes  uint64            `json:"system_bytes"` // that Go has from the system
	Collections  uint32            `json:"garbage_collections"`
	CollectPause string            `json:"garbage_collection_pauses"` // all together
}

func (k *control) build() build {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b := build{Version: k.options.Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Settings: map[string]string{}, Modules: map[string]string{},
		CPUs: runtime.NumCPU(), PID: os.Getpid(), Gateway: k.running != nil, Goroutines: runtime.NumGoroutine(),
		HeapBytes: m.HeapAlloc, HeapObjects: m.HeapObjects, SystemBytes: m.Sys, Collections: m.NumGC, CollectPause: time.Duration(m.PauseTotalNs).String()}
	if k.running != nil {
		b.Uptime = time.Since(k.tidy.begun).Round(time.Second).String()
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		b.Settings[s.Key] = s.Value
	}
	for _, d := range info.Deps {
		b.Modules[d.Path] = d.Version
	}
	return b
}

type file struct {
	Name    string    `json:"name"`
	Bytes   int64     `json:"bytes"`
	Mode    string    `json:"mode"`
	Changed time.Time `json:"changed"`
}

func filesOf(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := []file{}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, file{e.Name(), info.Size(), info.Mode().String(), info.ModTime().UTC()})
	}
	return all, nil
}

func (k *control) databasePart(ctx context.Context, checks func(context.Context) ([]admin.Check, error)) ([]byte, error) {
	shape, err := k.db.Shape(ctx)
	if err != nil {
		return nil, err
	}
	d := struct {
		store.Shape
		QuickCheck string `json:"quick_check"`
	}{shape, "not known"}
	all, err := checks(ctx)
	if i := slices.IndexFunc(all, func(c doctor.Check) bool { return c.Check == "database_integrity" }); i >= 0 {
		d.QuickCheck = fmt.Sprintf("%s: %s", all[i].State, all[i].Found)
	} else if err != nil {
		d.QuickCheck = "not known: " + err.Error()
	}
	return support.JSON(d, nil)
}

// quarantinePart is the listing, and of what waits for somebody the rule and the
// answer as well. Payloads stay on the box.
func (k *control) quarantinePart(ctx context.Context) ([]byte, error) {
	all, err := k.Quarantine(ctx, admin.QuarantineFilter{State: "all", Limit: bundleItems})
	if err != nil {
		return nil, err
	}
	for i, left := 0, bundleOpen; i < len(all) && left > 0; i++ {
		if all[i].Decision != "" {
			continue
		}
		whole, err := k.QuarantineItem(ctx, all[i].ID)
		if err != nil {
			return nil, err
		}
		all[i].Rule, all[i].Answer = whole.Rule, whole.Answer
		left--
	}
	return support.JSON(all, nil)
}

func (k *control) auditPart(ctx context.Context) ([]byte, error) {
	all, err := k.Audit(ctx, admin.AuditFilter{Limit: bundleAudit})
	slices.Reverse(all)
	return support.Lines(all, err)
}

func (k *control) metricsPart(ctx context.Context) ([]byte, error) {
	if k.running == nil {
		return nil, errNoGateway
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, admin.MetricsPath, nil)
	if err != nil {
		return nil, err
	}
	answer := &kept{header: http.Header{}, status: http.StatusOK}
	k.running.scrape.ServeHTTP(answer, r)
	if answer.status != http.StatusOK {
		return nil, fmt.Errorf("the metrics cannot be read: %s", bytes.TrimSpace(answer.body.Bytes()))
	}
	return answer.body.Bytes(), nil
}

// kept is an answer that nobody waits for.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *kept) Header() http.Header         { return a.header }
func (a *kept) WriteHeader(status int)      { a.status = status }
func (a *kept) Write(b []byte) (int, error) { return a.body.Write(b) }

func (k *control) logPart(context.Context) ([]byte, error) {
	switch {
	case k.running == nil:
		return nil, fmt.Errorf("%w; a gateway keeps its last lines in its memory, and what it wrote is with whoever started it (journalctl, docker logs)", errNoGateway)
	case k.options.Recent == nil:
		return nil, errors.New("nothing is kept of the log")
	}
	return k.options.Recent.Text(), nil
}
