package fiscal_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"edgegw/fiscal"
)

// listOf serves a list in pages of two, of operations that were made so many days
// before now; of what is made in the future it does not say when.
func listOf(t *testing.T, days []int) (c *fiscal.Client, now time.Time, asked *int) {
	now, asked = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), new(int)
	v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		var from int
		_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &from) // none is the first page
		var all []string
		made := ""
		for n := from; n < min(from+2, len(days)); n++ {
			made = ""
			if days[n] >= 0 {
				made = now.AddDate(0, 0, -days[n]).Add(time.Duration(n) * time.Second).Format(time.RFC3339)
			}
			all = append(all, fmt.Sprintf(`{"id":"op_%d","type":"sale","external_id":"s%d","created_at":%q}`, n, n, made))
		}
		next := "null"
		if from+2 < len(days) {
			next = fmt.Sprintf(`"%d"`, from+2)
		}
		all = append(all, fmt.Sprintf(`{"id":"op_r","type":"refund","external_id":"s1","created_at":%q}`, made))
		_, _ = io.WriteString(w, `{"data":[`+strings.Join(all, ",")+`],"cursor":`+next+`}`)
	}))
	t.Cleanup(v.Close)
	c = newClient(t, fiscal.Options{BaseURL: v.URL}, keyRing{reg: "ofk_reg_test_1"})
	t.Cleanup(c.CloseIdle)
	return c, now, asked
}

// A list ends where it shows that all behind is older, and nowhere else: what is not
// read is sent again.
func TestAListIsReadAsFarAsNeeded(t *testing.T) {
	for name, row := range map[string]struct {
		days  []int
		pages int
	}{
		"newest first":      {[]int{0, 0, 1, 2, 5, 6, 8, 9, 10, 11}, 3},
		"oldest first":      {[]int{11, 10, 9, 8, 6, 5, 2, 1, 0, 0}, 5},
		"in no order":       {[]int{9, 5, 0, 11, 8, 6, 1, 10, 2, 0}, 5},
		"all of one moment": {[]int{9, 9, 9, 9, 0, 0}, 3},
		"one without time":  {[]int{0, -1, 8, 9, 10, 11}, 3},
	} {
		c, now, asked := listOf(t, row.days)
		all, err := c.List(t.Context(), reg, now.AddDate(0, 0, -3))
		if err != nil || *asked != row.pages {
			t.Errorf("%s: %d pages, want %d, %v", name, *asked, row.pages, err)
		}
		got := map[string]bool{}
		for _, l := range all {
			got[l.Operation] = true
		}
		for n, d := range row.days {
			if d <= 4 && !got[fmt.Sprintf("op_%d", n)] {
				t.Errorf("%s: operation %d of day %d is missing", name, n, d)
			}
		}
		if got["op_r"] {
			t.Errorf("%s: a refund is taken for its sale", name)
		}
	}
}
