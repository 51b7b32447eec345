package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"edgegw/fiscal/sandbox"
)

type demoCmd struct {
	For      time.Duration  `default:"60s" placeholder:"TIME" help:"How long to sell (default 60s); 0 is until Ctrl-C."`
	Devices  int            `default:"6" placeholder:"N" help:"How many pumps and chargers (default 6)."`
	CutAfter *time.Duration `placeholder:"TIME" help:"When to cut the uplink (default: after a fifth of --for)."`
	CutFor   *time.Duration `placeholder:"TIME" help:"For how long (default: a third of --for); 0 leaves it whole."`
	Plain    bool           `help:"Plain lines instead of a live screen."`
	Keep     bool           `help:"Keep the data for a look afterwards."`

	settle time.Duration          // how long the last sales may take; 0 is a minute
	tamper func(*sandbox.Service) // for the test of the reconciliation
}

// script is what happens when, from the beginning of the selling.
type script struct {
	length   time.Duration // 0: until Ctrl-C
	cutAfter time.Duration
	cutFor   time.Duration // 0: never
	settle   time.Duration
}

const maxDemoDevices = 500

// script reads the flags. Cut and length keep the proportions of the default,
// so that a short demo shows the whole story, too.
func (c *demoCmd) script() (script, error) {
	s := script{length: c.For, settle: c.settle}
	if s.settle == 0 {
		s.settle = time.Minute
	}
	base := c.For
	if base == 0 {
		base = time.Minute
	}
	s.cutAfter, s.cutFor = base/5, base/3
	explicit := c.CutAfter != nil || c.CutFor != nil
	if c.CutAfter != nil {
		s.cutAfter = *c.CutAfter
	}
	if c.CutFor != nil {
		s.cutFor = *c.CutFor
	}
	switch {
	case s.length < 0 || s.cutAfter < 0 || s.cutFor < 0:
		return s, usage("--for, --cut-after and --cut-for cannot be negative")
	case c.Devices < 1 || c.Devices > maxDemoDevices:
		return s, usage("--devices %d: give a number from 1 to %d", c.Devices, maxDemoDevices)
	case explicit && s.length > 0 && s.cutFor > 0 && s.cutAfter+s.cutFor > s.length:
		return s, usage("the cut would end %v after the demo; give --for %v or more, or an earlier --cut-after",
			s.cutAfter+s.cutFor-s.length, s.cutAfter+s.cutFor)
	}
	return s, nil
}

// Run shows the demo and ends with its reconciliation.
func (c *demoCmd) Run(a *app) (err error) {
	plan, err := c.script()
	if err != nil {
		return err
	}
	if a.globals.Config != "" {
		return usage("the demo makes its own configuration; leave --config out (--set works)")
	}
	dir, err := c.folder(a)
	if err != nil {
		return err
	}
	d, err := c.build(a, dir, plan)
	if err == nil {
		err = errors.Join(d.play(a, plan), d.close())
		c.Keep = c.Keep || err != nil // it may be needed to see why
	}
	if c.Keep {
		fmt.Fprintf(a.out, "\nThe data is kept in %s. Look at the sales:\n  edgegw --data-dir %s --set allow_volatile_data=true sales\n", dir, dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// folder gives the data directory: a new one, because data of an earlier demo
// belong to a stand-in that is gone.
func (c *demoCmd) folder(a *app) (string, error) {
	dir := a.globals.DataDir
	if dir == "" {
		dir, err := os.MkdirTemp("", "edgegw-demo-")
		if err != nil {
			return "", fmt.Errorf("make a folder for the demo: %w", err)
		}
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make --data-dir: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read --data-dir: %w", err)
	}
	if len(entries) > 0 {
		return "", usage("--data-dir %s is not empty; the demo needs a new folder", dir)
	}
	c.Keep = true
	return dir, nil
}

// play is the demo from the first sale to the verdict.
func (d *demo) play(a *app, plan script) error {
	signal.Ignore(syscall.SIGPIPE) // a reader that leaves ends the demo, and its folder still goes
	v := newShow(a, d, d.plain || !a.outTerminal)
	defer v.end() // a screen must not stay behind, whatever happens
	held, err := d.perform(a, plan, v)
	v.end()
	if err != nil {
		return fmt.Errorf("%w; see the gateway's log: %s", err, d.logFile)
	}
	r := d.reconcile(held)
	fmt.Fprint(a.out, r.text())
	if len(r.faults) > 0 {
		return errors.New("the demo did not reconcile; what differs stands above")
	}
	return nil
}

// perform sells, settles and asks the gateway what it holds before it ends.
func (d *demo) perform(a *app, plan script, v *show) (held holdings, err error) {
	living, kill := context.WithCancel(context.WithoutCancel(a.ctx))
	d.start(living)
	defer d.life.Wait()
	defer kill()
	v.say("the gateway runs on %s; %d devices sell", d.gate.MQTTURL(), len(d.fleet.Devices()))
	if st, err := d.gate.Status(a.ctx); err == nil && len(st.Page) > 0 {
		v.say("the technicians' page is %s; claim it with the code %s", st.Page[0], st.Claim.Code)
	}
	if v.plain {
		v.say("its log is %s", d.logFile)
	}
	if err := d.act(a.ctx, plan, v); err != nil {
		return held, err
	}
	// A second Ctrl-C does not wait; it must not kill either, or the terminal
	// would stay on the other screen.
	hurry, stop := signal.NotifyContext(living, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.settle(hurry, plan, v); err != nil {
		return held, err
	}
	return d.holdings(living), nil
}

// act lets the devices sell, and cuts the uplink in between.
func (d *demo) act(ctx context.Context, plan script, v *show) error {
	begun := time.Now()
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for cut := false; ; {
		now := time.Since(begun)
		switch want := plan.cutFor > 0 && now >= plan.cutAfter && now < plan.cutAfter+plan.cutFor; {
		case want && !cut:
			d.cloud.SetDown(true)
			v.say("the uplink is CUT for %s: OpenFiskal is out of reach, sales go on", seconds(plan.cutFor))
			cut = true
		case !want && cut:
			d.cloud.SetDown(false)
			v.say("the uplink is back: the queue drains in order")
			cut = false
		}
		v.stage = plan.stage(now, cut)
		v.draw(d.look(ctx))
		over := v.gone || ctx.Err() != nil || plan.length > 0 && now >= plan.length
		if over && cut {
			d.cloud.SetDown(false)
			v.say("the uplink is back")
		}
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-d.ended:
			return d.cause()
		}
	}
}

// settle stops the selling and waits until nothing is under way any more.
func (d *demo) settle(ctx context.Context, plan script, v *show) error {
	ctx, cancel := context.WithTimeout(ctx, plan.settle)
	defer cancel()
	v.say("the devices stop selling; what is under way may take %s", seconds(plan.settle))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		d.stopSelling(ctx)
	}()
	defer func() { cancel(); <-stopped }()
	deadline, _ := ctx.Deadline()
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for {
		v.stage = stage{settling: true, left: time.Until(deadline)}
		look := d.look(context.WithoutCancel(ctx))
		v.draw(look)
		if look.settled() {
			v.say("nothing is under way any more: every sale has its answer, and every receipt is in")
			v.draw(look)
			return nil
		}
		select {
		case <-ctx.Done():
			why := "the time for that is over"
			if errors.Is(ctx.Err(), context.Canceled) {
				why = "stopped by hand"
			}
			v.say("%s: something is still under way", why)
			return nil // the reconciliation names it
		case <-tick.C:
		case <-d.ended:
			return d.cause()
		}
	}
}

// tempo is the mean time between two sales of a device; a sale lasts twice as
// long. A short demo is a fast one, so that there is something to see.
func (s script) tempo() time.Duration {
	const usual, fastest = 1500 * time.Millisecond, 250 * time.Millisecond
	if s.length == 0 {
		return usual
	}
	return min(usual, max(fastest, s.length/40))
}

// seconds prints a duration for people: "20 s", "1.2 s".
func seconds(d time.Duration) string {
	return fmt.Sprintf("%.4g s", d.Round(100*time.Millisecond).Seconds())
}
