package gateway

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/http"
	"sync"
)

// errPower is what everything gives once the power is off.
var errPower = errors.New("the power is off")

// power counts the calls at the seams of the disk and the uplink, each before
// and after it is carried out, and goes off at one of them. A call after that
// does nothing: the process is dead, only Go does not know it yet.
type power struct {
	mu    sync.Mutex
	step  int
	cutAt int // 0: never
	off   bool
	cut   chan struct{}
}

func newPower(cutAt int) *power { return &power{cutAt: cutAt, cut: make(chan struct{})} }

func (p *power) at() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return errPower
	}
	if p.step++; p.step == p.cutAt {
		p.off = true
		close(p.cut)
		return errPower
	}
	return nil
}

// cutTransport cuts before the request leaves and after the answer came.
type cutTransport struct {
	*power
	to http.RoundTripper
}

func (c cutTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := c.at(); err != nil {
		return nil, err
	}
	res, err := c.to.RoundTrip(r)
	if off := c.at(); off != nil {
		if err == nil {
			res.Body.Close()
		}
		return nil, off
	}
	return res, err
}

// cutDisk wraps SQLite's connector.
type cutDisk struct {
	*power
	driver.Connector
}

func (d cutDisk) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return cutConn{d.power, c}, nil
}

type cutConn struct {
	*power
	driver.Conn
}

func (c cutConn) Prepare(text string) (driver.Stmt, error) {
	s, err := c.Conn.Prepare(text)
	if err != nil {
		return nil, err
	}
	return cutStmt{c.power, s}, nil
}

type cutStmt struct {
	*power
	driver.Stmt
}

func (s cutStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.at(); err != nil {
		return nil, err
	}
	r, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	if off := s.at(); off != nil {
		return nil, off
	}
	return r, err
}

func (s cutStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.mu.Lock()
	off := s.off
	s.mu.Unlock()
	if off {
		return nil, errPower
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
