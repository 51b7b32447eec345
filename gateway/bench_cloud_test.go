//go:build linux

package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"edgegw/bench"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// asCloud makes the test binary be a stand-in for OpenFiskal, with so many registers. It
// says what it is on its standard output, and then answers each line of its input, which
// is a cloudOrder, with a cloudCount.
const asCloud = "RUN_AS_CLOUD"

type cloudHello struct {
	URL, CA string
	Keys    []string // of the registers drainRegister(0), drainRegister(1), …
}

// cloudOrder says how the service answers from now on.
type cloudOrder struct {
	Latency time.Duration // the median
	Spread  float64       // of its logarithm; 0: each request takes the same
	Limit   int           // requests a second, a tenth of that at once; 0: any
}

// cloudCount is what has happened since the start.
type cloudCount struct {
	Requests  int // that were answered, but for those that were too many
	Throttled int // with 429
	Disorder  int // two at once on a register, or a sale before an older one
	Accepted  int // connections
	CPU       time.Duration
}

type cloud struct {
	service *sandbox.Service
	index   map[string]int // of a key

	mu       sync.Mutex
	order    cloudOrder
	bucket   *rate.Limiter
	count    cloudCount
	busy     []bool
	lastSale []int
}

func runCloud(registers string) {
	n, _ := strconv.Atoi(registers)
	c := &cloud{service: sandbox.New(sandbox.Options{KeepRequests: 1}), index: map[string]int{}, busy: make([]bool, n), lastSale: make([]int, n)}
	hello := cloudHello{}
	for i := range n {
		key := c.service.MustAddRegister(string(drainRegister(i)))
		c.index[key] = i
		hello.Keys = append(hello.Keys, key)
	}
	server := httptest.NewUnstartedServer(c)
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.count.Accepted++
		}
	}
	server.StartTLS()
	hello.URL = server.URL
	hello.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	out, in := json.NewEncoder(os.Stdout), json.NewDecoder(os.Stdin)
	_ = out.Encode(hello)
	for {
		var o cloudOrder
		if in.Decode(&o) != nil {
			return // the benchmark has ended
		}
		_ = out.Encode(c.obey(o))
	}
}

func (c *cloud) obey(o cloudOrder) cloudCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Limit != c.order.Limit && o.Limit > 0 {
		c.bucket = rate.NewLimiter(rate.Limit(o.Limit), o.Limit/10)
	}
	c.order = o
	u, err := bench.UsageOf(os.Getpid())
	if err != nil {
		panic(err) // the benchmark shows it, and ends
	}
	c.count.CPU = u.CPU
	return c.count
}

var externalID = regexp.MustCompile(`"external_id":"(\d+)"`)

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	register, known := c.index[r.Header.Get("X-Register-Api-Key")]
	body, err := io.ReadAll(r.Body)
	if err != nil || !known {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	wait, ok := c.begin(register, body)
	if !ok {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	defer c.end(register)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	c.service.ServeHTTP(w, r)
}

func (c *cloud) begin(register int, body []byte) (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.order.Limit > 0 && !c.bucket.Allow() {
		c.count.Throttled++
		return 0, false
	}
	if c.busy[register] {
		c.count.Disorder++
	}
	c.busy[register] = true
	if m := externalID.FindSubmatch(body); m != nil {
		no, _ := strconv.Atoi(string(m[1]))
		if no <= c.lastSale[register] {
			c.count.Disorder++
		}
		c.lastSale[register] = no
	}
	return time.Duration(float64(c.order.Latency) * math.Exp(c.order.Spread*rand.NormFloat64())), true
}

func (c *cloud) end(register int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[register] = false
	c.count.Requests++
}

func drainDevice(i int) sale.DeviceID     { return sale.DeviceID(fmt.Sprintf("pump-%04d", i)) }
func drainRegister(i int) sale.RegisterID { return sale.RegisterID(fmt.Sprintf("reg_%04d", i)) }

// cloudProcess is the stand-in as the benchmark sees it.
type cloudProcess struct {
	cloudHello
	b   *testing.B
	in  io.Writer
	out *json.Decoder
}

func startCloud(b *testing.B, registers int) *cloudProcess {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asCloud+"="+strconv.Itoa(registers))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // it ends with its input
	})
	c := &cloudProcess{b: b, in: in, out: json.NewDecoder(bufio.NewReader(out))}
	if err := c.out.Decode(&c.cloudHello); err != nil {
		b.Fatal(err)
	}
	return c
}

// order tells the stand-in how to answer, and gives what it has seen so far.
func (c *cloudProcess) order(o cloudOrder) (n cloudCount) {
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		c.b.Fatal(err)
	}
	if err := c.out.Decode(&n); err != nil {
		c.b.Fatal(err)
	}
	return n
}
