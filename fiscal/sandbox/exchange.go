package sandbox

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxBody is the largest request body the service takes, in bytes.
const maxBody = 1 << 20

// answer is what goes back over the wire.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// end says how an exchange ended on the wire.
type end uint8

const (
	endAnswer end = iota
	endDown       // no connection: the uplink is cut
	endRefuse     // no connection: refused
	endDrop       // connection cut, no byte of an answer
	endCut        // connection cut in half the body
	endGone       // the client gave up
)

// serve takes one request from its arrival to its end. connected is called once
// the connection counts as made, before the body is read.
func (s *Service) serve(r *http.Request, connected func()) (answer, end) {
	ctx := r.Context()
	if s.opt.Control && strings.HasPrefix(r.URL.Path, controlPrefix) {
		connected()
		return s.control(r), endAnswer
	}
	q := s.newRequest(r)
	s.mu.Lock()
	down, cut, wait := s.down, s.cut, s.latency
	var f Fault
	if !down {
		f = s.pick(r.Method, q.step, s.registerOf(q))
	}
	s.mu.Unlock()
	switch {
	case down:
		return answer{}, endDown
	case f.Action == Refuse:
		s.record(q, r, nil).finish("connection refused", 0, false)
		return answer{}, endRefuse
	}
	connected()
	body, err := readBody(r)
	rec := s.record(q, r, body)
	if err != nil {
		rec.finish("body not read", 0, false)
		return answer{}, endDrop
	}
	q.rec, q.fault = rec, f
	if e, stop := hold(ctx, cut, wait+f.Before); stop {
		rec.finish("given up before processing", 0, false)
		return answer{}, e
	}
	if !f.processes() {
		return s.notProcessed(f, rec)
	}
	a := s.process(q)
	if e, stop := hold(ctx, cut, f.After); stop {
		rec.answered(false)
		return answer{}, e
	}
	return s.afterwards(f, rec, a)
}

func (s *Service) notProcessed(f Fault, rec *recorder) (answer, end) {
	if f.Action == DropRequest {
		rec.finish("dropped before processing", 0, false)
		return answer{}, endDrop
	}
	a := f.canned(rec.id())
	rec.finish("fault "+string(f.Action), a.status, !f.Cut)
	if f.Cut {
		return a, endCut
	}
	return a, endAnswer
}

// afterwards applies what a fault does to the answer of a processed request.
func (s *Service) afterwards(f Fault, rec *recorder, a answer) (answer, end) {
	switch f.Action {
	case DropAnswer:
		rec.answered(false)
		return answer{}, endDrop
	case CutAnswer:
		rec.answered(false)
		return a, endCut
	case ProcessThenAnswer:
		c := f.canned(rec.id())
		rec.overwrite(c.status)
		return c, endAnswer
	}
	return a, endAnswer
}

// hold waits d. It stops early where the client is gone or the uplink is cut.
func hold(ctx context.Context, cut <-chan struct{}, d time.Duration) (end, bool) {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-cut:
		}
	}
	select {
	case <-cut:
		return endDrop, true
	default:
	}
	if ctx.Err() != nil {
		return endGone, true
	}
	return endAnswer, false
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	return b, err
}

// ServeHTTP serves one request over a real connection. A cut is
// http.ErrAbortHandler: it ends an HTTP/1 connection and resets an HTTP/2
// stream without an answer.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, e := s.serve(r, func() {})
	if e != endAnswer && e != endCut {
		panic(http.ErrAbortHandler)
	}
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if e == endAnswer {
		_, _ = w.Write(a.body) // the client's going away is its own business
		return
	}
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// RoundTrip serves one request in process. It reports to the context's
// httptrace hooks as http.Transport does, because clients learn from them
// whether a byte may have left.
func (s *Service) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	trace := httptrace.ContextClientTrace(r.Context())
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(r.URL.Host)
	}
	a, e := s.serve(r, func() {
		if trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{})
		}
		if trace != nil && trace.WroteHeaders != nil {
			trace.WroteHeaders()
		}
	})
	switch e {
	case endDown:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
	case endRefuse:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case endDrop:
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	case endGone:
		return nil, r.Context().Err()
	}
	var body io.Reader = bytes.NewReader(a.body)
	if e == endCut {
		body = io.MultiReader(bytes.NewReader(a.body[:len(a.body)/2]), broken{})
	}
	a.header.Set("Content-Length", strconv.Itoa(len(a.body)))
	a.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(body), ContentLength: int64(len(a.body)), Request: r,
	}, nil
}

// broken is the end of a connection that was cut.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
