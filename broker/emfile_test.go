//go:build linux

package broker_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"edgegw/broker"
	"edgegw/broker/brokertest"
)

const asPoorBroker = "RUN_AS_POOR_BROKER"

// A process that has no file descriptor left refuses nobody for good: whoever is
// connected goes on selling, and when there are some again, it serves again.
func TestNoFileDescriptorsLeft(t *testing.T) {
	if os.Getenv(asPoorBroker) != "" {
		poorBroker(t)
		return
	}
	c := exec.Command(os.Args[0], "-test.run", "^TestNoFileDescriptorsLeft$", "-test.v")
	c.Env = append(os.Environ(), asPoorBroker+"=1")
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	lines := bufio.NewScanner(out)
	said := func(what string) string {
		for lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), what+" "); ok {
				return rest
			}
		}
		t.Fatalf("the broker did not say %s", what)
		return ""
	}
	s := &site{t: t, addr: said("address")}
	pump := s.device(5, "pump-01")
	must(t, pump.Publish(topic("pump-01", "sale"), 1, 1, `{"sale_id":"1"}`))
	readID(t, pump, brokertest.PUBACK, 1, 0)
	var crowd []net.Conn
	for range 120 { // the kernel takes them, the process cannot
		conn, err := net.Dial("tcp", s.addr)
		must(t, err)
		crowd = append(crowd, conn)
	}
	fmt.Fprintln(in, "?")
	if n := said("accept-errors"); n == "0" {
		t.Fatal("it had descriptors to spare")
	}
	must(t, pump.Publish(topic("pump-01", "sale"), 1, 2, `{"sale_id":"2"}`))
	readID(t, pump, brokertest.PUBACK, 2, 0)
	for _, conn := range crowd {
		conn.Close()
	}
	nothing(t, s.device(5, "pump-02"))
	must(t, in.Close())
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// poorBroker is a broker with some thirty descriptors. It says how it is when it
// is asked.
func poorBroker(t *testing.T) {
	s := start(t, func(_ *site, o *broker.Options) { o.MaxStrangers, o.StrangersPerAddress = 1000, 1000 })
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 32, Max: 32}))
	fmt.Println("address", s.addr)
	asked := bufio.NewReader(os.Stdin)
	for {
		if _, err := asked.ReadString('\n'); err == io.EOF {
			return
		}
		eventually(t, "an accept in vain", func() bool { return s.b.Stats().AcceptErrors > 0 })
		fmt.Println("accept-errors", s.b.Stats().AcceptErrors)
	}
}
