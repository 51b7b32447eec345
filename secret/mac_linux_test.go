package secret_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"edgegw/secret"
)

// plain is what MAC has to be equal to.
func plain(key []byte, public string, secretBytes []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(public))
	mac.Write(secretBytes)
	return mac.Sum(nil)
}

func TestMACIsHMAC(t *testing.T) {
	for size := range 200 {
		s := bytes.Repeat([]byte{'s'}, size)
		if got := secret.MAC([]byte("key"), "public|", s); !bytes.Equal(got, plain([]byte("key"), "public|", s)) {
			t.Errorf("%d bytes: %x", size, got)
		}
	}
}

// What was proven is left nowhere in memory: not in the heap, and not on stacks, of
// goroutines that wait, that have ended, or that had to grow.
func TestMACLeavesNothing(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); !ok || slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("NOT TESTED: the race detector keeps copies of its own")
	}
	for _, size := range []int{20, 26, 60} {
		if n := left(t, size, plain); n == 0 {
			t.Fatalf("%d bytes: HMAC as it is leaves nothing either, so the search does not see", size)
		}
		// Twice in turn: where the kernel stops a thread just then, what its registers
		// hold is put on its stack of signals. The gateway is not stopped so (startAnew).
		if n := left(t, size, secret.MAC); n > 0 {
			if again := left(t, size, secret.MAC); again > 0 {
				t.Errorf("%d bytes: they are left %d and %d times", size, n, again)
			}
		}
	}
}

// left counts in how many places the ends of secrets are found after mac.
func left(t *testing.T, size int, mac func([]byte, string, []byte) []byte) int {
	t.Helper()
	const many = 1000
	var made, leave sync.WaitGroup
	leave.Add(1)
	defer leave.Done()
	masked := make([][]byte, many)
	for i := range masked {
		masked[i] = make([]byte, size)
		_, _ = rand.Read(masked[i])
		made.Add(1)
		go func() {
			text := bytes.Clone(masked[i])
			for j := range text {
				text[j] ^= mask
			}
			mac([]byte("salt"), "edgegw token|", text)
			clear(text)
			made.Done()
			if i%2 == 0 {
				leave.Wait() // every other one keeps its stack
			}
		}()
	}
	made.Wait()
	return found(t, masked)
}

// mask hides what is searched for from the search.
const mask = 0xa5

// found counts where the ends of what is masked stand in the memory of this process.
func found(t *testing.T, masked [][]byte) (n int) {
	t.Helper()
	ends, begin := map[[8]byte]bool{}, [1 << 16]bool{}
	for _, m := range masked {
		end := [8]byte(m[len(m)-8:])
		ends[end], begin[uint16(end[0])<<8|uint16(end[1])] = true, true
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	window := make([]byte, 1<<20+8) // it is searched as well, and holds only what is somewhere else too
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		for at := from; at < to; at += 1 << 20 {
			part := window[:min(int64(len(window)), to-at)]
			if _, err := mem.ReadAt(part, at); err != nil {
				break // the kernel's own
			}
			for i := range len(part) - 8 {
				if begin[uint16(part[i]^mask)<<8|uint16(part[i+1]^mask)] && ends[unmasked(part[i:])] {
					n++
				}
			}
		}
	}
	return n
}

func unmasked(b []byte) (one [8]byte) {
	for i := range one {
		one[i] = b[i] ^ mask
	}
	return one
}
