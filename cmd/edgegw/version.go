package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version and commit are set by the release build (-ldflags "-X main.version=… -X main.commit=…").
var version, commit string

// versionText is the version, or the commit where this is no release.
func versionText() string {
	if version != "" {
		return version
	}
	if commit != "" {
		return "devel-" + shortened(commit)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	return "devel" + revision + changed
}

// commitText is the commit that the program was built from, "" where nobody said it.
func commitText() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}

func shortened(commit string) string { return commit[:min(12, len(commit))] }

type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run prints it.
func (c *versionCmd) Run(a *app) error {
	v := struct {
		Version  string `json:"version"`
		Commit   string `json:"commit,omitempty"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{versionText(), commitText(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if c.JSON {
		return a.printJSON(v)
	}
	from := ""
	if v.Commit != "" {
		from = "commit " + shortened(v.Commit) + ", "
	}
	fmt.Fprintf(a.out, "edgegw %s (%s%s, %s)\n", v.Version, from, v.Go, v.Platform)
	return nil
}
