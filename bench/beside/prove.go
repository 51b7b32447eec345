package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// Proof is what a server has in its files that was killed behind its last PUBACK. What
// the kernel holds for a killed process reaches the disk; a power cut is another matter.
type Proof struct {
	Peer         string `json:"peer"`
	Acknowledged int    `json:"acknowledged"`
	Found        int    `json:"found"`
}

// saleID is how a payload says its sale's name.
var saleID = regexp.MustCompile(`"sale_id":"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"`)

const provedSales = 25 // of each device

// prove kills each server after its last PUBACK and looks for every sale in its files.
func (m *meter) prove(ctx context.Context, c load) (all []Proof, err error) {
	for _, p := range m.peers {
		s, err := start(ctx, m.o, p, m.dir, c.devices)
		if err != nil {
			return nil, err
		}
		t, err := s.load.Each(ctx, c.window, provedSales)
		if err = errors.Join(err, s.stop(syscall.SIGKILL)); err != nil {
			return nil, fmt.Errorf("%s: %w", p.key, err)
		}
		found, err := salesIn(s.dir)
		if err != nil {
			return nil, err
		}
		one := Proof{Peer: p.key, Acknowledged: t.Count, Found: found}
		if err := one.judge(p, c.devices*provedSales); err != nil {
			return nil, err
		}
		all = append(all, one)
		if err := os.RemoveAll(s.dir); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (one Proof) judge(p peer, published int) error {
	if one.Acknowledged != published {
		return fmt.Errorf("%s: %d of %d sales were acknowledged", p.key, one.Acknowledged, published)
	}
	if p.durable && one.Found != published {
		return fmt.Errorf("%s says that what it acknowledges is on disk, and %d of %d sales are in its files", p.key, one.Found, published)
	}
	return nil
}

// salesIn counts the sales whose payload is in the files below dir, each once.
func salesIn(dir string) (int, error) {
	seen := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return salesOf(f, seen)
	})
	return len(seen), err
}

// salesOf reads in pieces that overlap by more than a name is long.
func salesOf(r io.Reader, seen map[string]bool) error {
	const piece, overlap = 1 << 20, 64
	buf := make([]byte, 0, piece+overlap)
	for {
		n, err := io.ReadFull(r, buf[len(buf):len(buf)+piece])
		buf = buf[:len(buf)+n]
		for _, found := range saleID.FindAllSubmatch(buf, -1) {
			seen[string(found[1])] = true
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
		buf = buf[:copy(buf, buf[len(buf)-overlap:])]
	}
}
