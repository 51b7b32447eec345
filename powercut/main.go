// Command powercut cuts the power of a whole edgegw at every step of a recording
// and looks whether what was promised is still there. README.md says how to run it,
// how to read what it says, and what it takes a disk to be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// asRig is set for the process that plays a scene, which has the flags of a rig even
// where it is a test binary.
const asRig = "RUN_AS_POWERCUT_STAGE"

type options struct {
	play, stage, notes, script, binary string
	small, mutants, noDrain            bool
	scenes, dir, state, out            string
	perCut, every, device              int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("powercut", flag.ContinueOnError)
	f.StringVar(&o.scenes, "scenes", "", "scenes to play, with commas between (default: all)")
	f.StringVar(&o.dir, "dir", "", "folder for the recordings; one that has them already is read, not played again (default: a new one)")
	f.StringVar(&o.state, "state", "", "check this one state, SCENE/CUT/FATE, of the recordings in -dir")
	f.StringVar(&o.out, "out", "", "with -state: leave the state in this folder")
	f.IntVar(&o.perCut, "states", 4, "at most so many states of each cut")
	f.IntVar(&o.every, "every", 1, "cut at one of so many steps")
	f.BoolVar(&o.mutants, "mutants", false, "play broken gateways too: each must be caught")
	f.BoolVar(&o.small, "small", false, "short scenes")
	f.BoolVar(&o.noDrain, "no-drain", false, "do not run queues dry")
	f.IntVar(&o.device, "device", 0, "cut the power of a real ext4 on a loop device so many times instead (root)")
	f.StringVar(&o.play, "play", "", "internal: play a scene")
	f.StringVar(&o.stage, "stage", "", "internal")
	f.StringVar(&o.notes, "notes", "", "internal")
	f.StringVar(&o.script, "script", "", "internal")
	f.StringVar(&o.binary, "binary", "", "internal")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case o.play != "":
		return play(o.play, o.stage, o.notes, o.script, o.binary, o.small)
	case o.device > 0:
		return o.onDevice(ctx)
	case o.state != "":
		return o.one(ctx)
	}
	return o.all(ctx)
}

// one makes a single state again.
func (o *options) one(ctx context.Context) error {
	name, _, _ := strings.Cut(o.state, "/")
	sc, ok := scenes[name]
	if !ok || o.dir == "" {
		return errors.New("-state takes SCENE/CUT/FATE, and -dir the folder of the recordings")
	}
	r, err := load(sc, filepath.Join(o.dir, name))
	if err != nil {
		return err
	}
	out := o.out
	if out == "" {
		if out, err = os.MkdirTemp("", "powercut-state-"); err != nil {
			return err
		}
	}
	fmt.Printf("%s, in %s\n", o.state, out)
	if err := r.state(ctx, o.state, out, sc.drain > 0 && !o.noDrain); err != nil {
		return err
	}
	fmt.Println("nothing is lost.")
	return nil
}

// all plays and cuts every scene.
func (o *options) all(ctx context.Context) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "powercut-"); err != nil {
			return err
		}
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	fmt.Println("recordings in", o.dir)
	binary := filepath.Join(o.dir, "edgegw")
	if err := build(ctx, root, binary, o.dir, nil); err != nil {
		return err
	}
	var sum tally
	for _, sc := range sceneList {
		if !o.plays(sc.name) {
			continue
		}
		t, err := o.cut(ctx, sc, filepath.Join(o.dir, sc.name), binary, root, 0)
		if err != nil {
			return err
		}
		t.print()
		sum.add(t)
	}
	sum.scene = "in all"
	sum.print()
	var caught error
	if o.mutants {
		caught = o.catch(ctx, root)
	}
	if sum.lost > 0 {
		return errors.Join(caught, fmt.Errorf("%d states have lost something; one of them again: go run ./powercut -dir %s -state NAME", sum.lost, o.dir))
	}
	return caught
}

// cut plays a scene, or takes the recording that is there, and runs through it.
func (o *options) cut(ctx context.Context, sc scene, dir, binary, root string, failures int) (tally, error) {
	if _, err := os.Stat(filepath.Join(dir, scriptName)); err != nil {
		if sc.base != "" {
			sc.base = filepath.Join(root, "powercut", "testdata", sc.base)
		}
		if err := record(ctx, sc, dir, binary, o.small); err != nil {
			return tally{}, err
		}
	}
	r, err := load(sc, dir)
	if err != nil {
		return tally{}, err
	}
	scratch := scratchFolder()
	shown := time.Now()
	return r.run(ctx, limits{perCut: o.perCut, every: max(1, o.every), failures: failures, drains: !o.noDrain, scratch: scratch, each: func(done int) {
		if time.Since(shown) > 10*time.Second {
			shown = time.Now()
			fmt.Fprintf(os.Stderr, "%s: %d states\n", sc.name, done)
		}
	}})
}

func (o *options) plays(scene string) bool {
	return o.scenes == "" || strings.Contains(","+o.scenes+",", ","+scene+",")
}

// catch plays each mutant: all must lose something.
func (o *options) catch(ctx context.Context, root string) error {
	var errs []error
	for i, m := range mutants {
		if !o.plays(m.scene) {
			continue
		}
		dir := filepath.Join(o.dir, fmt.Sprintf("mutant-%d", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		binary := filepath.Join(dir, "edgegw")
		if err := build(ctx, root, binary, dir, m.changes); err != nil {
			return err
		}
		t, err := o.cut(ctx, scenes[m.scene], filepath.Join(dir, m.scene), binary, root, 0)
		if err != nil {
			return err
		}
		first := "not caught"
		if len(t.failures) > 0 {
			first = t.failures[0].name + ": " + firstLine(t.failures[0].cause)
		} else {
			errs = append(errs, fmt.Errorf("a gateway with %q passes", m.name))
		}
		fmt.Printf("mutant %-48s %-8s %6d states %6d lost   %s\n", m.name, m.scene, t.states, t.lost, first)
	}
	return errors.Join(errs...)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (t *tally) add(o tally) {
	t.steps, t.cuts, t.states, t.same, t.drained, t.lost = t.steps+o.steps, t.cuts+o.cuts, t.states+o.states, t.same+o.same, t.drained+o.drained, t.lost+o.lost
	t.acked, t.took = t.acked+o.acked, t.took+o.took
}

func (t *tally) print() {
	fmt.Printf("%-10s %6d cuts %7d states %6d the same %5d drained %5d acknowledged %5d lost %8s\n",
		t.scene, t.cuts, t.states, t.same, t.drained, t.acked, t.lost, t.took.Round(time.Second))
	for _, f := range t.failures {
		fmt.Printf("  %s\n    %s\n", f.name, strings.ReplaceAll(f.cause.Error(), "\n", "\n    "))
	}
}

// scratchFolder is memory where there is some.
func scratchFolder() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}
