package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
)

// stage is where a scene is played: the real edgegw as processes of its own, the
// stand-in for OpenFiskal, devices that speak MQTT. It runs under strace with all
// its children, so that one recording has everything in one order.
type stage struct {
	dir     string // the watched folder
	binary  string
	small   bool // a short scene
	service *sandbox.Service
	server  *sandbox.Server
	notes   *os.File
	flags   []string
	mqtt    string // address
	gateway *exec.Cmd
	log     bytes.Buffer

	mu     sync.Mutex
	script script
}

// script is what the stage knows of a scene and the recording does not say.
type script struct {
	Scene    string              `json:"scene"`
	MQTT     string              `json:"mqtt"`
	API      string              `json:"api"`
	Events   []event             `json:"events"`   // in the order of each device
	Requests []sandbox.Request   `json:"requests"` // in the order in which the stand-in had them
	Keys     map[string]string   `json:"keys"`     // of registers at the stand-in, the first one
	Secrets  map[string]string   `json:"secrets"`  // of devices
	Homes    map[string]string   `json:"homes"`    // the register of each device
	Facts    map[string]string   `json:"facts"`    // whatever else a check wants
	Base     map[string][]string `json:"base"`     // what was on disk before the scene began: payloads of each device
}

// event is one message of a device.
type event struct {
	Device  string `json:"device"`
	Port    string `json:"port"`
	Packet  uint16 `json:"packet"`
	Kind    string `json:"kind"`
	Sale    string `json:"sale"`
	Payload string `json:"payload"`
	Again   bool   `json:"again"` // it was sent before
	Bad     bool   `json:"bad"`   // it cannot be a sale: kept as evidence
	Total   int64  `json:"total"` // of an end
}

const (
	dataName = "data"
	outName  = "out"
)

// play plays one scene in a folder that holds its beginning, and leaves the script.
func play(name, dir, notes, scriptFile, binary string, small bool) error {
	sc, ok := scenes[name]
	if !ok {
		return fmt.Errorf("there is no scene %q", name)
	}
	f, err := os.OpenFile(notes, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s := &stage{dir: dir, binary: binary, small: small, notes: f, service: sandbox.New(sandbox.Options{Idempotency: sandbox.Ignore})}
	if s.server, err = s.service.Listen("127.0.0.1:0"); err != nil {
		return err
	}
	if s.mqtt, err = freeAddress(); err != nil {
		return err
	}
	_, api, _ := net.SplitHostPort(strings.TrimPrefix(s.server.Origin(), "http://"))
	_, mqtt, _ := net.SplitHostPort(s.mqtt)
	s.script = script{Scene: name, MQTT: ":" + mqtt, API: ":" + api, Keys: map[string]string{}, Secrets: map[string]string{}, Homes: map[string]string{}, Facts: map[string]string{}}
	if b, err := os.ReadFile(filepath.Join(dir, "base.json")); err == nil {
		if err := errors.Join(json.Unmarshal(b, &s.script.Base), os.Remove(filepath.Join(dir, "base.json"))); err != nil {
			return err
		}
	}
	s.setFlags()
	err = sc.play(s)
	if s.gateway != nil {
		err = errors.Join(err, s.kill())
	}
	if err != nil {
		return fmt.Errorf("scene %s: %w\n%s", name, err, s.log.String())
	}
	s.script.Requests = s.service.Requests()
	text, err := json.Marshal(s.script)
	return errors.Join(err, os.WriteFile(scriptFile, text, 0o600), s.server.Close(), f.Close())
}

// setFlags are what every edgegw of the stage is told.
func (s *stage) setFlags() {
	s.flags = []string{"--data-dir", filepath.Join(s.dir, dataName), "--set", "allow_volatile_data=true", "--set", "http.listen=", "--set", "mqtt.tls_listen=",
		"--set", "mqtt.plain_listen=" + s.mqtt, "--set", "openfiskal.proxy=none", "--set", "openfiskal.timeout=10s", "--set", "store.min_free_bytes=0",
		"--set", "mqtt.messages_per_second=100000", "--set", "openfiskal.requests_per_second=10000", "--set", "openfiskal.base_url=" + s.server.URL()}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// note writes down what the world outside has seen, at its place in the recording.
func (s *stage) note(what string, values ...string) error {
	m := map[string]string{"note": what}
	for i := 0; i+1 < len(values); i += 2 {
		m[values[i]] = values[i+1]
	}
	line, err := json.Marshal(m)
	if err == nil {
		_, err = s.notes.Write(append(line, '\n'))
	}
	return err
}

// command runs edgegw to its end.
func (s *stage) command(stdin string, args ...string) (string, error) {
	c := exec.Command(s.binary, append(slices.Clone(s.flags), args...)...)
	c.Dir = s.dir
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("edgegw %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// run starts a gateway and waits until it listens.
func (s *stage) run(more ...string) error {
	s.gateway = exec.Command(s.binary, append(append(slices.Clone(s.flags), more...), "run")...)
	s.gateway.Dir, s.gateway.Stderr = s.dir, &s.log
	if err := s.gateway.Start(); err != nil {
		return err
	}
	return until("the gateway listens", func() bool {
		c, err := net.Dial("tcp", s.mqtt)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// end ends the gateway as a service manager does.
func (s *stage) end() error {
	g := s.gateway
	s.gateway = nil
	return errors.Join(g.Process.Signal(syscall.SIGTERM), g.Wait())
}

// kill leaves it no time.
func (s *stage) kill() error {
	g := s.gateway
	s.gateway = nil
	err := g.Process.Kill()
	_ = g.Wait() // that it was killed is no news
	return err
}

const patience = 2 * time.Minute

// until waits for what must come.
func until(what string, there func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !there() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
	return nil
}

// addDevice adds a device on a register, with its key.
func (s *stage) addDevice(id, register string) error {
	if s.script.Keys[register] == "" {
		s.script.Keys[register] = s.service.MustAddRegister(register)
	}
	out, err := s.command(s.script.Keys[register]+"\n", "device", "add", id, "--register", register, "--key-stdin", "--json")
	if err != nil {
		return err
	}
	var c struct{ Password string }
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		return err
	}
	s.script.Secrets[id], s.script.Homes[id] = c.Password, register
	return s.note("device", "device", id, "register", register)
}

// pump is a device on the line.
type pump struct {
	s      *stage
	id     string
	port   string
	packet uint16
	sales  int
	*brokertest.Client
}

// connect logs a device in; one that takes receipts acknowledges each.
func (s *stage) connect(id string) (*pump, error) {
	conn, err := net.Dial("tcp", s.mqtt)
	if err != nil {
		return nil, err
	}
	c, err := brokertest.Connect(conn, brokertest.Login{ClientID: id, Secret: s.script.Secrets[id], Clean: true})
	if err != nil || c.Ack.Code != 0 {
		return nil, errors.Join(fmt.Errorf("connect %s: code %d", id, c.Ack.Code), err)
	}
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	return &pump{s: s, id: id, port: port, Client: c}, err
}

// send publishes and does not wait.
func (p *pump) send(e event) error {
	p.packet++
	e.Device, e.Port, e.Packet = p.id, p.port, p.packet
	p.s.mu.Lock()
	p.s.script.Events = append(p.s.script.Events, e)
	p.s.mu.Unlock()
	return p.Publish("edgegw/v1/"+p.id+"/"+e.Kind, 1, e.Packet, e.Payload)
}

// acked waits for n acknowledgements.
func (p *pump) acked(n int) error {
	for range n {
		if _, _, err := p.Await(brokertest.PUBACK); err != nil {
			return fmt.Errorf("%s waits for its acknowledgement: %w", p.id, err)
		}
	}
	return nil
}

// report is send, and waits.
func (p *pump) report(events ...event) error {
	for _, e := range events {
		if err := errors.Join(p.send(e), p.acked(1)); err != nil {
			return err
		}
	}
	return nil
}

// receipts subscribes, takes so many receipts and acknowledges them.
func (p *pump) receipts(n int) error {
	_, early, err := p.Subscribe(60000, 1, "edgegw/v1/"+p.id+"/receipt")
	if err != nil {
		return err
	}
	for n > 0 {
		var m brokertest.Packet
		if len(early) > 0 {
			m, early = early[0], early[1:]
		} else if m, err = p.Read(patience); err != nil {
			return fmt.Errorf("%s waits for %d receipts: %w", p.id, n, err)
		}
		if m.Type != brokertest.PUBLISH {
			continue
		}
		if err := errors.Join(p.s.note("receipt", "device", p.id), p.Answer(brokertest.PUBACK, m.ID)); err != nil {
			return err
		}
		n--
	}
	return nil
}
