package health

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func refused(device string, since time.Time) Condition {
	return Condition{Code: "key_refused", Severity: Attention, Title: "OpenFiskal refuses the key of " + device, Affected: device, Since: since,
		Remedy: "Ask the back office for a new register key, then: edgegw key set " + device}
}

func codes(list []Condition) string {
	s := ""
	for _, c := range list {
		s += c.Code + "/" + c.Affected + " "
	}
	return s
}

func TestListPutsAttentionFirstThenTheOldest(t *testing.T) {
	var b Board
	b.Set(Condition{Code: "kek_self_made", Severity: Notice, Since: noon.Add(-time.Hour)})
	b.Set(refused("pump-2", noon.Add(time.Minute)))
	b.Set(refused("pump-1", noon.Add(time.Minute)))
	b.Set(refused("pump-9", noon))
	if got, want := codes(b.List()), "key_refused/pump-9 key_refused/pump-1 key_refused/pump-2 kek_self_made/ "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSetAgainKeepsSince(t *testing.T) {
	var b Board
	if !b.Set(refused("pump-1", noon)) {
		t.Error("a first Set is not new")
	}
	later := refused("pump-1", noon.Add(time.Hour))
	later.Title = "OpenFiskal still refuses the key of pump-1"
	if b.Set(later) {
		t.Error("a second Set is new")
	}
	got := b.List()
	if len(got) != 1 || !got[0].Since.Equal(noon) || got[0].Title != later.Title {
		t.Errorf("got %+v, want the new title since noon", got)
	}
	if !b.Clear("key_refused", "pump-1") || b.Clear("key_refused", "pump-1") {
		t.Error("Clear must report true once")
	}
	if b.Set(later); !b.List()[0].Since.Equal(later.Since) {
		t.Error("a condition that comes back counts from its return")
	}
}

func TestWorst(t *testing.T) {
	var b Board
	if b.Worst() != 0 {
		t.Errorf("an empty board: %v", b.Worst())
	}
	b.Set(Condition{Code: "a", Severity: Notice})
	if b.Worst() != Notice {
		t.Errorf("got %v, want notice", b.Worst())
	}
	b.Set(Condition{Code: "b", Severity: Attention})
	b.Set(Condition{Code: "c", Severity: Notice})
	if b.Worst() != Attention {
		t.Errorf("got %v, want attention", b.Worst())
	}
}

func TestJSONIsFlat(t *testing.T) {
	var b Board
	if got, _ := json.Marshal(b.List()); string(got) != "[]" {
		t.Errorf("an empty board is %s", got)
	}
	b.Set(Condition{Code: "disk_low", Severity: Attention, Title: "Little space is left", Since: noon, Remedy: "Free some space"})
	got, err := json.Marshal(b.List())
	want := `[{"code":"disk_low","severity":"attention","title":"Little space is left","affected":"","since":"2026-11-22T12:00:00Z","remedy":"Free some space"}]`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	var back []Condition
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, b.List()) {
		t.Errorf("read back: %+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`[{"severity":"red"}]`), &back); err == nil {
		t.Error("an unknown severity is accepted")
	}
}

func TestBoardIsSafeForManyGoroutines(t *testing.T) {
	var b Board
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				b.Set(refused(fmt.Sprint(i, j), noon))
				b.List()
				b.Worst()
				if j%2 == 0 {
					b.Clear("key_refused", fmt.Sprint(i, j))
				}
			}
		})
	}
	all.Wait()
	if n := len(b.List()); n != 8*100 {
		t.Errorf("got %d conditions, want 800", n)
	}
}
