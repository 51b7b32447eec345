package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const controlPrefix = "/_sandbox/"

// faultWire is Fault over HTTP: snake case, durations as text.
type faultWire struct {
	ID         int               `json:"id,omitempty"`
	Hits       int               `json:"hits,omitempty"`
	Method     string            `json:"method,omitempty"`
	Step       Step              `json:"step,omitempty"`
	Register   string            `json:"register,omitempty"`
	Skip       int               `json:"skip,omitempty"`
	Times      int               `json:"times,omitempty"`
	Percent    int               `json:"percent,omitempty"`
	Action     Action            `json:"action"`
	Before     string            `json:"before,omitempty"`
	After      string            `json:"after,omitempty"`
	Status     int               `json:"status,omitempty"`
	Header     map[string]string `json:"header,omitempty"`
	Body       string            `json:"body,omitempty"`
	Cut        bool              `json:"cut,omitempty"`
	Location   string            `json:"location,omitempty"`
	RetryAfter string            `json:"retry_after,omitempty"`
	PendFor    string            `json:"pend_for,omitempty"`
	PendTo     string            `json:"pend_to,omitempty"`
}

func (w faultWire) fault() (Fault, error) {
	f := Fault{Method: w.Method, Step: w.Step, Register: w.Register, Skip: w.Skip, Times: w.Times, Percent: w.Percent,
		Action: w.Action, Status: w.Status, Header: w.Header, Body: w.Body, Cut: w.Cut, Location: w.Location, RetryAfter: w.RetryAfter, PendTo: w.PendTo}
	if f.Action == "" {
		f.Action = Pass
	}
	for _, v := range []struct {
		name, text string
		dst        *time.Duration
	}{{"before", w.Before, &f.Before}, {"after", w.After, &f.After}, {"pend_for", w.PendFor, &f.PendFor}} {
		if v.text == "" {
			continue
		}
		d, err := time.ParseDuration(v.text)
		if err != nil {
			return Fault{}, fmt.Errorf("read %s: a duration such as 1.5s is needed", v.name)
		}
		*v.dst = d
	}
	return f, f.check()
}

func wireOf(f FaultState) faultWire {
	text := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	return faultWire{ID: f.ID, Hits: f.Hits, Method: f.Method, Step: f.Step, Register: f.Register, Skip: f.Skip, Times: f.Times,
		Percent: f.Percent, Action: f.Action, Before: text(f.Before), After: text(f.After), Status: f.Status, Header: f.Header,
		Body: f.Body, Cut: f.Cut, Location: f.Location, RetryAfter: f.RetryAfter, PendFor: text(f.PendFor), PendTo: f.PendTo}
}

// control serves /_sandbox/…: no key, no faults, not in the ledger.
func (s *Service) control(r *http.Request) answer {
	path := strings.TrimPrefix(r.URL.Path, controlPrefix)
	name, id, _ := strings.Cut(path, "/")
	switch {
	case r.Method == http.MethodGet && path == "faults":
		return s.controlFaults()
	case r.Method == http.MethodPost && path == "faults":
		return s.controlInject(r)
	case r.Method == http.MethodDelete && path == "faults":
		s.ClearFaults()
		return controlAnswer(http.StatusOK, map[string]any{"removed": "all"})
	case r.Method == http.MethodDelete && name == "faults":
		n, err := strconv.Atoi(id)
		if err != nil || !s.Remove(n) {
			return controlError(http.StatusNotFound, "There is no rule "+id+".")
		}
		return controlAnswer(http.StatusOK, map[string]any{"removed": n})
	case r.Method == http.MethodGet && path == "ledger":
		return controlAnswer(http.StatusOK, map[string]any{"operations": s.Operations(""), "requests": s.Requests(), "totals": s.Totals()})
	case r.Method == http.MethodPost && path == "registers":
		return s.controlRegister(r)
	}
	return controlError(http.StatusNotFound, "GET, POST, DELETE /_sandbox/faults, GET /_sandbox/ledger and POST /_sandbox/registers exist.")
}

func (s *Service) controlFaults() answer {
	out := []faultWire{}
	for _, f := range s.Faults() {
		out = append(out, wireOf(f))
	}
	return controlAnswer(http.StatusOK, map[string]any{"faults": out})
}

func (s *Service) controlInject(r *http.Request) answer {
	var w faultWire
	if err := controlBody(r, &w); err != nil {
		return controlError(http.StatusBadRequest, err.Error())
	}
	f, err := w.fault()
	if err != nil {
		return controlError(http.StatusBadRequest, err.Error())
	}
	return controlAnswer(http.StatusCreated, map[string]any{"id": s.Inject(f)})
}

func (s *Service) controlRegister(r *http.Request) answer {
	var in struct {
		ID           string `json:"id"`
		Jurisdiction string `json:"jurisdiction"`
	}
	if err := controlBody(r, &in); err != nil {
		return controlError(http.StatusBadRequest, err.Error())
	}
	reg, err := s.AddRegister(in.ID, in.Jurisdiction)
	if err != nil {
		return controlError(http.StatusConflict, err.Error())
	}
	return controlAnswer(http.StatusCreated, reg)
}

func controlBody(r *http.Request, into any) error {
	b, err := readBody(r)
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	return nil
}

func controlAnswer(status int, v any) answer {
	b, err := json.Marshal(v)
	if err != nil {
		panic("sandbox: render a control answer: " + err.Error())
	}
	return answer{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: append(b, '\n')}
}

func controlError(status int, message string) answer {
	return controlAnswer(status, map[string]any{"error": message})
}
