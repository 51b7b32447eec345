package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// needles are what must be nowhere: secrets, in every form in which one could
// lie about. They are found in one pass, by their first eight bytes.
type needles struct {
	byHead map[uint64][]needle
	heads  [1 << 16]bool // of the first two bytes, to pass over what fits none
	n      int
}

type needle struct {
	what string
	text []byte
}

// add takes a secret whole and in halves: half of one that somebody wrote over
// is a leak, too. from is where its random part begins.
func (n *needles) add(what string, secret []byte, from int) {
	random := secret[from:]
	half := len(random) / 2
	for _, part := range []struct {
		name string
		text []byte
	}{{"", secret}, {", first half", random[:half]}, {", second half", random[half:]}} {
		n.put(what+part.name, part.text)
		n.put(what+part.name+" in hex", []byte(hex.EncodeToString(part.text)))
		n.put(what+part.name+" in HEX", []byte(strings.ToUpper(hex.EncodeToString(part.text))))
		for shift := range 3 { // of a longer text that was encoded whole
			for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
				text := e.EncodeToString(append(make([]byte, shift), part.text...))
				n.put(what+part.name+" in "+name, []byte(text[(shift*8+5)/6:len(text)-1])) // without what the neighbours have a part in
			}
		}
	}
	if h := huffman(secret); h != nil {
		n.put(what+" as HTTP/2 writes it", h)
		n.put(what+" as HTTP/2 writes it, second half", h[len(h)/2:])
	}
}

func (n *needles) put(what string, text []byte) {
	if n.byHead == nil {
		n.byHead = map[uint64][]needle{}
	}
	head := binary.LittleEndian.Uint64(text) // none is shorter
	if !slices.ContainsFunc(n.byHead[head], func(o needle) bool { return bytes.Equal(o.text, text) }) {
		n.byHead[head] = append(n.byHead[head], needle{what, bytes.Clone(text)})
		n.n++
	}
	n.heads[binary.LittleEndian.Uint16(text)] = true
}

// hit is a place where a needle was found.
type hit struct {
	what string
	at   int
	near string // what stands before and behind it
}

func (n *needles) in(b []byte) (hits []hit) {
	for i := 0; i+8 <= len(b); i++ {
		if !n.heads[binary.LittleEndian.Uint16(b[i:])] {
			continue
		}
		for _, x := range n.byHead[binary.LittleEndian.Uint64(b[i:])] {
			if bytes.HasPrefix(b[i:], x.text) {
				near := b[max(0, i-120):min(len(b), i+len(x.text)+120)]
				hits = append(hits, hit{x.what, i, fmt.Sprintf("%q", near)})
			}
		}
	}
	return hits
}

// huffman gives a header's value as HTTP/2 compresses it (RFC 7541, appendix B),
// nil where it has characters that register keys do not have.
func huffman(text []byte) []byte {
	codes := map[byte]struct{ code, bits uint64 }{}
	for i, c := range []byte("012aceiost") {
		codes[c] = struct{ code, bits uint64 }{uint64(i), 5}
	}
	for i, c := range []byte(" %-./3456789=A_bdfghlmnpru") {
		codes[c] = struct{ code, bits uint64 }{0x14 + uint64(i), 6}
	}
	for i, c := range []byte(":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz") {
		codes[c] = struct{ code, bits uint64 }{0x5c + uint64(i), 7}
	}
	var out []byte
	var acc, n uint64
	for _, c := range text {
		x, ok := codes[c]
		if !ok {
			return nil
		}
		acc, n = acc<<x.bits|x.code, n+x.bits
		for ; n >= 8; n -= 8 {
			out = append(out, byte(acc>>(n-8)))
		}
	}
	return out // without the last, incomplete byte
}

// mapping is a piece of a process's memory, as a core dump would have it.
type mapping struct {
	name string
	at   uint64
	text []byte
}

// errShadowed is given where the race detector watches: it lays out terabytes.
var errShadowed = errors.New("the race detector watches")

// memoryOf reads all that a process has in memory and may read itself.
func memoryOf(pid int) ([]mapping, error) {
	if info, ok := debug.ReadBuildInfo(); !ok || slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return nil, errShadowed
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	var all []mapping
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		name := strings.Join(f[5:], " ")
		if f[1][0] != 'r' || strings.HasPrefix(name, "[v") { // vvar, vdso, vsyscall: the kernel's
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		begin, _ := strconv.ParseUint(from, 16, 64)
		end, _ := strconv.ParseUint(to, 16, 64)
		m := mapping{name: f[1] + " " + name, at: begin, text: make([]byte, end-begin)}
		if _, err := mem.ReadAt(m.text, int64(begin)); err != nil && err != io.EOF {
			return nil, fmt.Errorf("read %s: %w", lines.Text(), err)
		}
		all = append(all, m)
	}
	return all, nil
}

// The search finds each form of a secret in the memory of a process: this one.
func TestTheSearchFindsWhatIsThere(t *testing.T) {
	secret := append([]byte("ofk_reg_test_"), hex.AppendEncode(nil, random(16))...)
	raw := random(32)
	var n needles
	n.add("key", secret, 13)
	n.add("kek", raw, 0)
	planted := [][]byte{
		append([]byte("X-Register-Api-Key: "), secret...),
		append([]byte{0xef, 0xbe}, secret[13:29]...),
		append([]byte("kek "), raw...),
		raw[16:],
		[]byte(hex.EncodeToString(raw)),
		[]byte(base64.StdEncoding.EncodeToString(raw)),
		[]byte(base64.StdEncoding.EncodeToString(append([]byte("user:"), secret...))),
		huffman(secret),
	}
	all, err := memoryOf(os.Getpid())
	if err != nil {
		t.Skipf("the memory of a process cannot be read here: %v", err)
	}
	for i, p := range planted {
		if len(n.in(p)) == 0 {
			t.Errorf("form %d is not found: %q", i, p)
		}
	}
	found := map[string]int{}
	for _, m := range all {
		for _, h := range n.in(m.text) {
			found[h.what]++
		}
	}
	for _, want := range []string{"key", "key, first half", "kek", "kek, second half", "kek in hex", "kek in base64", "key in base64", "key as HTTP/2 writes it"} {
		if found[want] == 0 {
			t.Errorf("%q is not found in memory; found: %v", want, found)
		}
	}
	runtime.KeepAlive(planted)
}

// What the search takes for the form in which HTTP/2 writes a key is what
// net/http writes.
func TestHuffmanIsWhatHTTP2Writes(t *testing.T) {
	key := "ofk_reg_test_" + hex.EncodeToString(random(16))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	go func() {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil) // nothing can be wrong with it
		r.Header.Set("X-Register-Api-Key", key)
		_, _ = client.Do(r) // nobody answers
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(deadline))
	if _, err := c.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}); err != nil { // SETTINGS, all as usual
		t.Fatal(err)
	}
	var all []byte
	for part := make([]byte, 4096); !bytes.Contains(all, huffman([]byte(key))); {
		n, err := c.Read(part)
		if err != nil {
			t.Fatalf("%v; heard %q", err, all)
		}
		all = append(all, part[:n]...)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
