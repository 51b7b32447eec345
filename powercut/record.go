package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// recording is a scene as it was played.
type recording struct {
	scene  scene
	script script
	before map[string][]byte // what was there when it began
	steps  []step
}

// Names inside the folder of a recording.
const (
	stageName  = "stage" // the watched folder, as it was at the end
	beforeName = "before"
	traceName  = "trace"
	notesName  = "notes"
	scriptName = "script.json"
)

// record plays a scene under strace and reads the recording.
func record(ctx context.Context, sc scene, dir, binary string, small bool) error {
	stageDir := filepath.Join(dir, stageName)
	if err := os.MkdirAll(filepath.Join(stageDir, outName), 0o700); err != nil {
		return err
	}
	if sc.base != "" {
		if err := os.CopyFS(stageDir, os.DirFS(sc.base)); err != nil {
			return err
		}
	}
	if err := os.CopyFS(filepath.Join(dir, beforeName), os.DirFS(stageDir)); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-f", "--seccomp-bpf", "-yy", "-xx", "-s", "1000000", "-e", "signal=none", "-e", "trace=" + traced, "-o", filepath.Join(dir, traceName),
		self, "-play", sc.name, "-stage", stageDir, "-notes", filepath.Join(dir, notesName), "-script", filepath.Join(dir, scriptName), "-binary", binary}
	if small {
		args = append(args, "-small")
	}
	if sc.slow {
		args = append([]string{"-e", "inject=fdatasync:delay_enter=150000"}, args...) // microseconds
	}
	c := exec.CommandContext(ctx, "strace", args...)
	c.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "EDGEGW_") }), asRig+"=1")
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("record scene %s: %w\n%s", sc.name, err, out)
	}
	return nil
}

// load reads a recording, and checks that nothing was overlooked: what the steps
// make of the folder's beginning is what lay there at the end, to the byte.
func load(sc scene, dir string) (*recording, error) {
	r := &recording{scene: sc}
	text, err := os.ReadFile(filepath.Join(dir, scriptName))
	if err == nil {
		err = json.Unmarshal(text, &r.script)
	}
	if err != nil {
		return nil, err
	}
	if r.before, err = folder(filepath.Join(dir, beforeName)); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, traceName))
	if err != nil {
		return nil, err
	}
	calls, err := readCalls(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	root := filepath.Join(dir, stageName)
	if r.steps, err = readSteps(calls, root, filepath.Join(dir, notesName), r.script.MQTT, r.script.API); err != nil {
		return nil, err
	}
	after, err := folder(root)
	if err != nil {
		return nil, err
	}
	return r, r.whole(after)
}

// whole plays all steps and compares.
func (r *recording) whole(after map[string][]byte) error {
	d := newDisk(r.before)
	for _, s := range r.steps {
		if s.do != nil {
			if err := s.do(d); err != nil {
				return err
			}
		}
	}
	// A call that was under way when its process was killed may have happened.
	sure := slices.DeleteFunc(slices.Clone(d.pending), func(o *op) bool { return o.ended == never })
	if r.same(d.image(sure), after) == nil {
		return nil
	}
	return r.same(d.image(d.pending), after)
}

func (r *recording) same(img image, after map[string][]byte) error {
	for name, content := range after {
		if volatileFile(name) {
			continue
		}
		if have, ok := img[name]; !ok || string(have) != string(content) {
			return fmt.Errorf("the recording of %s is not whole: %s has %d bytes, the recording makes %d", r.scene.name, name, len(content), len(have))
		}
		delete(img, name)
	}
	for name := range img {
		return fmt.Errorf("the recording of %s is not whole: %s is there in the recording only", r.scene.name, name)
	}
	return nil
}

// folder reads all files below; a directory is nil.
func folder(root string) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(root, path)
		switch {
		case err != nil || relErr != nil:
			return errors.Join(err, relErr)
		case name == "." || e.Type()&fs.ModeSocket != 0:
			return nil
		case e.IsDir():
			all[name] = nil
			return nil
		}
		b, err := os.ReadFile(path)
		if b == nil {
			b = []byte{}
		}
		all[name] = b
		return err
	})
	return all, err
}
