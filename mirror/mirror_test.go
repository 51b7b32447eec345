package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
)

const small = 2 * (headSize + 128<<10)

func open(t *testing.T, dir string, o Options) *Journal {
	t.Helper()
	if o.Bytes == 0 {
		o.Bytes = small
	}
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

var generation int

func begin(t *testing.T, j *Journal) {
	t.Helper()
	generation++
	if err := j.Begin(fmt.Sprintf("%032x", generation), 7); err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, j *Journal, text string, whole bool) {
	t.Helper()
	if err := j.Append([]byte(text), whole); err != nil {
		t.Fatal(err)
	}
}

// read gives the frames that another process would find.
func read(t *testing.T, dir string) (texts []string, generations []Generation) {
	t.Helper()
	j := open(t, dir, Options{})
	if err := j.Read(func(_ Generation, b []byte) error { texts = append(texts, string(b)); return nil }); err != nil {
		t.Fatal(err)
	}
	return texts, j.Generations()
}

func want(t *testing.T, got []string, texts ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(texts) {
		t.Errorf("got %q, want %q", got, texts)
	}
}

func TestAGenerationCountsUntilTheNextOneIsWhole(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	begin(t, j)
	add(t, j, "a", true)
	add(t, j, "b", false)
	begin(t, j)
	add(t, j, "c", false)
	got, generations := read(t, dir)
	want(t, got, "a", "b", "c")
	if len(generations) != 2 || generations[0].Schema != 7 || generations[1].Before != generations[0].ID {
		t.Errorf("%+v", generations)
	}
	add(t, j, "d", true)
	got, _ = read(t, dir)
	want(t, got, "c", "d")
	for range 3 { // files are used in turn, and what they held is never seen
		begin(t, j)
		add(t, j, "e", true)
		got, _ = read(t, dir)
		want(t, got, "e")
	}
}

func TestABeginThatNeverBecameWholeGivesItsFileBack(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	begin(t, j)
	add(t, j, "a", true)
	for range 3 {
		begin(t, j)
		add(t, j, "half", false)
		got, _ := read(t, dir)
		want(t, got, "a", "half")
	}
}

func TestContinueGoesOnBehindATornFrame(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	begin(t, j)
	add(t, j, "a", true)
	at := j.pos
	add(t, j, "the power goes here", false)
	flip(t, filepath.Join(dir, names[j.found0()]), at+frameHead+3)
	j = open(t, dir, Options{})
	if err := j.Continue(); err != nil {
		t.Fatal(err)
	}
	add(t, j, "b", false)
	got, _ := read(t, dir)
	want(t, got, "a", "b")
}

func (j *Journal) found0() int { at, _ := j.newest(); return at }

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// One flipped bit, anywhere: no frame is ever given that was not written, at most
// one is lost, and that is said.
func TestAFlippedBitCostsOneFrameAndIsSaid(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	begin(t, j)
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("frame %d %s", i, bytes.Repeat([]byte{'x'}, 50*i)))
		add(t, j, all[i], i == 0)
	}
	path := filepath.Join(dir, names[0])
	r := rand.New(rand.NewSource(1))
	for range 300 {
		at := headSize + r.Int63n(j.pos-headSize)
		flip(t, path, at)
		got, generations := read(t, dir)
		if len(got) < len(all)-1 {
			t.Fatalf("byte %d: %d frames of %d", at, len(got), len(all))
		}
		next := 0
		for _, g := range got {
			for next < len(all) && all[next] != g {
				next++
			}
			if next == len(all) {
				t.Fatalf("byte %d: %.20q was never written", at, g)
			}
		}
		if last := got[len(got)-1] == all[len(all)-1]; last && len(got)+generations[0].Lost != len(all) {
			t.Errorf("byte %d: %d frames, %d said to be lost", at, len(got), generations[0].Lost)
		}
		flip(t, path, at)
	}
}

func TestItNeverGrowsPastItsSize(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	begin(t, j)
	n := 0
	var err error
	for ; err == nil; n++ {
		err = j.Append(make([]byte, 1000), n == 0)
	}
	if !errors.Is(err, ErrFull) || n < 100 {
		t.Errorf("%d frames, %v", n, err)
	}
	begin(t, j)
	add(t, j, "x", true)
	size := int64(0)
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if size += info.Size(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if size > small {
		t.Errorf("%d bytes, at most %d", size, int64(small))
	}
}

// sick fails on command.
type sick struct {
	File
	write, sync *error
	syncs       *int
}

func (s sick) WriteAt(b []byte, at int64) (int, error) {
	if *s.write != nil {
		return 0, *s.write
	}
	return s.File.WriteAt(b, at)
}

func (s sick) Sync() error {
	*s.syncs++
	if *s.sync != nil {
		return *s.sync
	}
	return s.File.Sync()
}

func TestAFailedSyncIsNeverTriedAgain(t *testing.T) {
	dir, eio := t.TempDir(), errors.New("input/output error")
	var write, sync error
	syncs := 0
	j := open(t, dir, Options{Disk: func(f File) File { return sick{f, &write, &sync, &syncs} }})
	begin(t, j)
	add(t, j, "a", true)
	sync = eio
	if err := j.Append([]byte("b"), false); !errors.Is(err, eio) {
		t.Fatalf("%v", err)
	}
	sync = nil
	before := syncs
	if err := j.Append([]byte("c"), false); !errors.Is(err, ErrFailed) || syncs != before {
		t.Errorf("%v, %d further syncs", err, syncs-before)
	}
	write = eio
	if err := j.Begin(fmt.Sprintf("%032x", 99), 7); !errors.Is(err, eio) {
		t.Errorf("%v", err)
	}
	write = nil
	begin(t, j)
	add(t, j, "all anew", true)
	got, _ := read(t, dir)
	want(t, got, "all anew")
}

func TestAHeadThatWasDamagedIsNoGeneration(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	begin(t, j)
	add(t, j, "a", true)
	flip(t, filepath.Join(dir, names[0]), 20)
	if got, generations := read(t, dir); len(got) != 0 || generations != nil {
		t.Errorf("%q %+v", got, generations)
	}
	if err := open(t, dir, Options{}).Continue(); err == nil {
		t.Error("it goes on behind nothing")
	}
}
