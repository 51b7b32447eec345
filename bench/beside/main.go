// Command beside runs one load against edgegw and against what people would use
// instead, turn by turn on one disk, and prints tables. run.sh installs the peers;
// docs/benchmarks.md has figures, and how to read them. It needs Linux.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	only, peers             string
	dir, disk, out          string
	edgegw, mosquitto, nats string
	rounds                  int
	lasts                   time.Duration
	device                  bool
	tables                  bool
	serve, addr             string
	devices                 int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "beside:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("beside", flag.ContinueOnError)
	f.StringVar(&o.only, "only", "100x1,1000x1,100x16,1x64", "what to measure, with commas between: "+strings.Join(names(allCases), ", "))
	f.StringVar(&o.peers, "peers", "", "beside what, with commas between (default: all): "+strings.Join(names(allPeers), ", "))
	f.StringVar(&o.dir, "dir", "", "a folder on the disk that is asked about; what is written there goes into one of its own and is removed")
	f.StringVar(&o.disk, "disk", "", "what the tables call that disk (default: its file system)")
	f.StringVar(&o.out, "json", "", "write what was measured into this file")
	f.StringVar(&o.edgegw, "edgegw", "edgegw", "the program")
	f.StringVar(&o.mosquitto, "mosquitto", "mosquitto", "the program")
	f.StringVar(&o.nats, "nats", "nats-server", "the program")
	f.IntVar(&o.rounds, "rounds", 5, "how often each turn comes round")
	f.DurationVar(&o.lasts, "for", 0, "how long a turn lasts (default: what the case has)")
	f.BoolVar(&o.device, "device", false, "count what is written to the device that -dir lies on, which nobody else must use")
	f.BoolVar(&o.tables, "tables", false, "measure nothing: print the tables of the files that are named, which -json has written")
	f.StringVar(&o.serve, "serve", "", "internal: be this broker")
	f.StringVar(&o.addr, "addr", "", "internal")
	f.IntVar(&o.devices, "devices", 0, "internal")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case o.serve != "":
		return serve(ctx, o)
	case o.tables:
		r, err := read(f.Args())
		if err != nil {
			return err
		}
		return r.print(os.Stdout)
	case o.dir == "" || f.NArg() > 0 || o.rounds < 1:
		return errors.New("name a folder on the disk that you ask about: -dir DIR; -h lists the flags")
	}
	r, err := measure(ctx, o)
	if err != nil {
		return err
	}
	if o.out != "" {
		text, err := json.MarshalIndent(r, "", " ")
		if err == nil {
			err = os.WriteFile(o.out, append(text, '\n'), 0o644)
		}
		if err != nil {
			return fmt.Errorf("write the figures: %w", err)
		}
	}
	return r.print(os.Stdout)
}

// read joins files of one machine.
func read(files []string) (*Report, error) {
	all := &Report{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var r Report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if err := all.join(r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// named is something that a flag picks by its name.
type named interface{ name() string }

func names[T named](all []T) (out []string) {
	for _, one := range all {
		out = append(out, one.name())
	}
	return out
}

// pick gives what the list names, in the order of all; everything where it is empty.
func pick[T named](all []T, list string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	want := strings.Split(list, ",")
	var out []T
	for _, one := range all {
		if i := slices.Index(want, one.name()); i >= 0 {
			out, want = append(out, one), slices.Delete(want, i, i+1)
		}
	}
	if len(want) > 0 {
		return nil, fmt.Errorf("there is no %q, only %s", want[0], strings.Join(names(all), ", "))
	}
	return out, nil
}
