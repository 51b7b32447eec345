package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgegw/fiscal/sandbox"
)

// A medium that hangs keeps no site from selling: a stick that does not answer any more
// is like a pipe into which nobody writes.
func TestASecondJournalThatHangsAtTheStart(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["store.mirror_bytes"] = "64MiB"
	s.flags["store.mirror_dir"] = t.TempDir()
	pipe := filepath.Join(s.flags["store.mirror_dir"], "journal-a")
	must(t, syscall.Mkfifo(pipe, 0o600))
	began := time.Now()
	s.on()
	if took := time.Since(began); took > 2*secondOpens {
		t.Errorf("the start took %v", took)
	}
	s.add("pump-01")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	must(t, c.Publish(topic("pump-01", "sale"), 1, 7, fmt.Sprintf(wholeEvent, "s1")))
	if r := awaitReceipt(t, c, nil); r.SaleID != "s1" {
		t.Errorf("receipt of %s", r.SaleID)
	}
	if text, there := s.condition("second_journal_off"); !there || !strings.Contains(text, "does not answer") {
		t.Errorf("nobody is told: %q", text)
	}
	s.off()
	w, err := os.OpenFile(pipe, os.O_RDWR, 0) // whoever reads still is let go
	must(t, err)
	_, err = w.Write(make([]byte, 8192))
	must(t, err)
	must(t, w.Close())
}

// Two gateways that are given one directory do not write over each other's journal.
func TestTwoGatewaysWithOneSecondJournal(t *testing.T) {
	dir := t.TempDir()
	one, other := newSite(t, sandbox.Options{}), newSite(t, sandbox.Options{})
	for _, s := range []*testSite{one, other} {
		s.flags["store.mirror_bytes"], s.flags["store.mirror_dir"] = "64MiB", dir
	}
	one.on()
	await(t, "the second journal", func() bool { return one.db.SecondState().On })
	other.on()
	await(t, "the condition", func() bool { return other.hasCondition("second_journal_off") })
	if text, _ := other.condition("second_journal_off"); !strings.Contains(text, "another gateway") {
		t.Errorf("the other one is told %q", text)
	}
	if one.hasCondition("second_journal_off") {
		t.Error("the first one has lost its own")
	}
	other.off()
	one.off()
}
