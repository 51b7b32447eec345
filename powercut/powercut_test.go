package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(asRig) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// needsStrace leaves a test out, loudly, where processes cannot be traced. In CI
// that must not happen.
func needsStrace(t *testing.T) {
	t.Helper()
	out, err := exec.Command("strace", "-f", "--seccomp-bpf", "-o", os.DevNull, "true").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("strace is needed: %v\n%s", err, out)
	default:
		t.Skipf("THE POWER WAS NOT CUT: strace does not work here (Debian: apt-get install -y strace): %v\n%s", err, out)
	}
}

func cutAll(t *testing.T, o options, sc scene, binary string) tally {
	t.Helper()
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum, err := o.cut(t.Context(), sc, filepath.Join(o.dir, sc.name), binary, root, 0)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// A few hundred states of every scene. `go run ./powercut` has them all.
func TestNothingThatWasPromisedIsLost(t *testing.T) {
	needsStrace(t)
	dir := t.TempDir()
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "edgegw")
	if err := build(t.Context(), root, binary, dir, nil); err != nil {
		t.Fatal(err)
	}
	o := options{dir: dir, small: true, perCut: 2, every: 9}
	states := 0
	for _, sc := range sceneList {
		sc.drain = min(sc.drain, 8)
		sum := cutAll(t, o, sc, binary)
		states += sum.states
		for _, f := range sum.failures {
			t.Errorf("%s: %v", f.name, f.cause)
		}
		if sum.states < 10 || sum.cuts < 10 {
			t.Errorf("%s: %d states of %d cuts: the rig does not reach the product", sc.name, sum.states, sum.cuts)
		}
		if sc.drain > 0 && sum.drained == 0 {
			t.Errorf("%s: no queue was run dry", sc.name)
		}
	}
	t.Logf("%d states", states)
}

// The rig must be able to fail. `go run ./powercut -mutants` plays them all.
func TestABrokenGatewayIsCaught(t *testing.T) {
	needsStrace(t)
	if testing.Short() {
		t.Skip("building a mutant takes a while")
	}
	m := mutants[0]
	dir := t.TempDir()
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "edgegw")
	if err := build(t.Context(), root, binary, dir, m.changes); err != nil {
		t.Fatal(err)
	}
	sum := cutAll(t, options{dir: dir, small: true, perCut: 2, every: 5, noDrain: true}, scenes[m.scene], binary)
	if sum.lost == 0 {
		t.Errorf("a gateway with %s passes %d states", m.name, sum.states)
	}
	t.Logf("%s: %d of %d states have lost something", m.name, sum.lost, sum.states)
}

// Every mutant's texts are there: one that no longer applies would guard nothing.
func TestMutantsApply(t *testing.T) {
	root, err := moduleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		for _, c := range m.changes {
			text, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil || strings.Count(string(text), c.old) != 1 {
				t.Errorf("%s: %s does not have %q once (%v)", m.name, c.file, c.old, err)
			}
		}
	}
}

func TestDisk(t *testing.T) {
	has := func(img image, name, content string) bool { b, ok := img[name]; return ok && string(b) == content }
	d := newDisk(map[string][]byte{"old": []byte("0123")})
	f := d.create("new", false, 1)
	d.write(f, 0, []byte("abcd"), 2)
	if _, ok := d.image(nil)["new"]; ok {
		t.Error("a name that was not synced is there without its change")
	}
	if !has(d.image(d.pending), "new", "abcd") {
		t.Error("with all changes the file is not what the process sees")
	}
	d.sync("new", 3)
	if _, ok := d.image(nil)["new"]; ok {
		t.Error("the sync of a file has covered its name: POSIX does not say so")
	}
	if !has(d.image(d.pending), "new", "abcd") || len(d.pending) != 1 {
		t.Errorf("after the sync of the file %d changes are open, one should be", len(d.pending))
	}
	d.sync(".", 4)
	if !has(d.image(nil), "new", "abcd") || len(d.pending) != 0 {
		t.Error("a synced name, and its content, are not sure")
	}
	d.write(f, 4, []byte("ef"), 9)
	if d.sync("new", 9); len(d.pending) != 1 {
		t.Error("a sync has covered a write that had not ended when it began")
	}
	d.rename("new", "old", 10)
	if img := d.image(d.pending); !has(img, "old", "abcdef") || len(img) != 1 {
		t.Errorf("a rename leaves %q", img)
	}
	if img := d.image(nil); !has(img, "old", "0123") || !has(img, "new", "abcd") {
		t.Errorf("without the rename there is %q", img)
	}
	gone := d.create("again", true, 11)
	d.create("again/plan", false, 11)
	d.sync("again", 12)
	d.sync(".", 12)
	d.remove("again/plan", 12)
	d.remove("again", 12)
	d.sync(".", 13)
	d.create("again", true, 13)
	if _, ok := d.image(d.pending)["again/plan"]; ok || !gone.dir {
		t.Error("a new folder holds what was in the one before it")
	}
	inner := d.create("dir", true, 11)
	d.write(d.create("dir/file", false, 12), 0, []byte("x"), 13)
	d.sync("dir/file", 14)
	d.sync("dir", 15)
	if _, ok := d.image(nil)["dir/file"]; ok || !inner.dir {
		t.Error("a file is there whose folder is not")
	}
}

// What a sync that was not answered has let go of, a later one does not bring to the
// disk: only writing it again does.
func TestASyncThatIsNotAnswered(t *testing.T) {
	d := newDisk(map[string][]byte{"f": []byte("........")})
	f, sure := d.live["f"], func() string { return string(d.image(nil)["f"]) }
	d.write(f, 1, []byte("abcdef"), 1)
	d.unanswered("f", 2)
	d.write(f, 2, []byte("x"), 3)
	if d.sync("f", 4); sure() != "..x....." {
		t.Errorf("a later sync leaves %q", sure())
	}
	if got := string(d.image(d.pending)["f"]); got != ".axcdef." || string(f.live) != got {
		t.Errorf("with all changes there is %q, the processes see %q", got, f.live)
	}
	d.write(f, 0, []byte(".axc"), 5)
	d.write(f, 4, []byte("def."), 6)
	if d.sync("f", 7); sure() != ".axcdef." || len(d.pending) != 0 {
		t.Errorf("written again it is %q, and %d changes are open", sure(), len(d.pending))
	}
	d.write(f, 4, []byte("gh"), 8)
	d.unanswered("f", 9)
	d.truncate(f, 5, 10)
	if d.sync("f", 11); sure() != ".axcd" || len(d.pending) != 1 {
		t.Errorf("cut off it is %q, and %d changes are open", sure(), len(d.pending))
	}
}

func TestFates(t *testing.T) {
	d := newDisk(map[string][]byte{"f": bytes.Repeat([]byte("o"), 512)})
	f := d.live["f"]
	for i := range 3 {
		d.write(f, int64(512*i), bytes.Repeat([]byte{byte('a' + i)}, 1024), i+1)
	}
	for fate, want := range map[string]string{
		"none": "o", "all": "abcc", "upto.1": "aa", "upto.2": "abb", "lost.1": "aacc"[:4], "only.1": "obb", "lost.2": "abb",
		"torn.1.512": "ab", "hole.2.512": "abc", "zero.2": "ab\x00\x00", "zero.0": "obcc", "zeros": "o\x00\x00\x00",
	} {
		kept, err := suffer(d.pending, fate)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for i, b := range d.image(kept)["f"] {
			if i%512 == 0 {
				got = append(got, b)
			}
		}
		if string(got) != want {
			t.Errorf("%s leaves sectors %q, want %q", fate, got, want)
		}
	}
	names := fates(d.pending, 100, 7)
	for _, name := range names {
		if _, err := suffer(d.pending, name); err != nil {
			t.Errorf("%s is offered, and unknown: %v", name, err)
		}
	}
	if again := fates(d.pending, 100, 7); !slices.Equal(names, again) || len(names) < 15 {
		t.Errorf("%d fates, and not the same again", len(names))
	}
	for _, bad := range []string{"", "some", "lost.3", "lost", "torn.1", "all.1", "lost.x", "lost.-1"} {
		if _, err := suffer(d.pending, bad); err == nil {
			t.Errorf("fate %q is accepted", bad)
		}
	}
}

// What strace writes, in all its forms: whole, cut in two, padded, failed, killed.
func TestReadCalls(t *testing.T) {
	text := `7 openat(AT_FDCWD<\x2f\x74>, "\x66", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5<\x2f\x74\x2f\x66>
7 pwrite64(5<\x2f\x74\x2f\x66>, "\x61\x62", 2, 512 <unfinished ...>
8 fsync(5<\x2f\x74\x2f\x66>) = -1 EIO (Input/output error)
7 <... pwrite64 resumed>)           = 2
8 write(5<\x2f\x74\x2f\x66>, "\x63", 1) = ?
9 unlink("\x2f\x74\x2f\x66" <unfinished ...>
7 write(5<\x2f\x74\x2f\x66>, "\x64", 1) = -1 (errno 18446744073709551615)
8 +++ killed by SIGKILL +++
`
	calls, err := readCalls(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range calls {
		got = append(got, c.name)
	}
	if !slices.Equal(got, []string{"openat", "pwrite64", "fsync", "write", "unlink", "write"}) {
		t.Fatalf("got %q", got)
	}
	w := calls[1]
	if path, gone := w.file(0); path != "/t/f" || gone || string(w.bytes(1)) != "ab" || w.begun != 2 || w.ended != 4 || w.result != 2 {
		t.Errorf("pwrite64 is %+v of %s", w, path)
	}
	if calls[0].path(0, 1) != "/t/f" || calls[2].ended != never || calls[3].ended != never || calls[4].ended != never || calls[5].ended != never {
		t.Errorf("got %+v", calls)
	}
	if _, err := readCalls(strings.NewReader("7 fsync(5<\\x2f> = 0\n")); err == nil {
		t.Error("half a line is accepted")
	}
}

func TestAcknowledgementsAreFound(t *testing.T) {
	var got []uint16
	s := &mqttStream{}
	acked := func(packet uint16, code byte) { got = append(got, packet+uint16(code)<<8) }
	stream := []byte{0x20, 3, 0, 0, 0, 0x40, 2, 0, 7, 0x30, 4, 0, 1, 'a', 'b', 0x40, 4, 0, 8, 0x99, 0, 0x40, 2, 0, 9}
	for _, b := range stream { // however it is cut into packets
		if err := s.take([]byte{b}, acked); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []uint16{7, 8 + 0x99<<8, 9}) {
		t.Errorf("got %v", got)
	}
	if err := s.take([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, acked); err == nil {
		t.Error("what is no MQTT is accepted")
	}
}
