package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"edgegw/admin"
	"edgegw/bench"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

type loginList = []bench.Login

// server is a peer that runs, with the load logged in.
type server struct {
	peer  peer
	dir   string
	addr  string
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{}
	load  *bench.Load
}

// patience is how long a server may take until it answers.
const patience = 30 * time.Second

// start starts a peer in a new folder and connects n devices.
func start(ctx context.Context, o options, p peer, parent string, n int) (s *server, err error) {
	dir, err := os.MkdirTemp(parent, p.key+"-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args, err := p.command(o, dir, port)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", p.key, err)
	}
	s = &server{peer: p, dir: dir, addr: fmt.Sprintf("127.0.0.1:%d", port), cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.key, err)
	}
	go func() {
		_ = s.cmd.Wait() // its log says why
		close(s.ended)
	}()
	if err := s.ready(ctx, n); err != nil {
		return nil, errors.Join(fmt.Errorf("make %s ready: %w", p.key, err), s.stop(syscall.SIGKILL), errors.New(strings.TrimSpace(s.log.String())))
	}
	return s, nil
}

// ready waits until the server listens, leaves a subscriber that is away, and logs the
// devices in.
func (s *server) ready(ctx context.Context, n int) error {
	if err := s.listening(ctx); err != nil {
		return err
	}
	if s.peer.queues {
		if err := s.subscribe(); err != nil {
			return fmt.Errorf("leave a subscription: %w", err)
		}
	}
	find := s.peer.login
	if find == nil {
		find = anyLogins
	}
	logins, err := find(ctx, s.dir, n)
	if err != nil {
		return err
	}
	s.load = &bench.Load{Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.addr)
	}}
	return s.load.Connect(ctx, logins)
}

func (s *server) listening(ctx context.Context) error {
	tick, limit := time.NewTicker(50*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return errors.New("it has ended")
		case <-limit:
			return fmt.Errorf("it does not listen: %w", err)
		}
	}
}

// subscribe makes a session that outlives its connection, takes every sale, and goes
// away: without one, mosquitto and NATS store nothing.
func (s *server) subscribe() error {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return err
	}
	c, err := brokertest.Connect(conn, brokertest.Login{Version: 4, ClientID: "away", Secret: "any"})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	codes, _, err := c.Subscribe(1, 1, "edgegw/v1/+/sale")
	if err == nil && (len(codes) != 1 || codes[0] != 1) {
		err = fmt.Errorf("SUBACK % x", codes)
	}
	return errors.Join(err, c.Goodbye())
}

// stop ends the server and removes nothing.
func (s *server) stop(how syscall.Signal) error {
	if s.load != nil {
		s.load.Close()
	}
	_ = s.cmd.Process.Signal(how) // it may have ended
	select {
	case <-s.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s does not end", s.peer.key), s.cmd.Process.Kill())
	}
}

// freePort is one that nobody listens on. Another may take it before the server does:
// that fails, and is tried again by hand.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func device(i int) string { return fmt.Sprintf("pump-%04d", i) }

func anyLogins(_ context.Context, _ string, n int) (all loginList, _ error) {
	for i := range n {
		all = append(all, bench.Login{ID: sale.DeviceID(device(i)), Secret: "any"})
	}
	return all, nil
}

// rawLogins are those that brokertest.NewGuard knows.
func rawLogins(_ context.Context, _ string, n int) (all loginList, _ error) {
	for i := range n {
		all = append(all, bench.Login{ID: sale.DeviceID(device(i)), Secret: "s-" + device(i)})
	}
	return all, nil
}

// edgegwLogins adds devices as a technician would. They have no key of OpenFiskal yet:
// what they sell waits.
func edgegwLogins(ctx context.Context, dir string, n int) (loginList, error) {
	client, err := admin.Dial(filepath.Join(dir, "data", admin.SocketName))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return bench.Logins(ctx, n, func(i int) (bench.Login, error) {
		made, err := client.AddDevice(ctx, admin.AddDevice{DeviceID: sale.DeviceID(device(i)), RegisterID: sale.RegisterID("reg_" + device(i)), Kind: "kiosk"}, "beside")
		return bench.Login{ID: made.DeviceID, Secret: made.Password}, err
	})
}
