package admin

import "testing"

// The version that is asked with comes through; what is no version does not get
// into an address, nor into an answer.
func TestTheDoctorHearsWhoAsks(t *testing.T) {
	_, path, _ := serve(t)
	c := dial(t, path)
	for asker, want := range map[string]string{"": "", "1.2.3": "1.2.3", "devel-0123456789ab+changes": "devel-0123456789ab+changes", "ofk_reg_live_0123456789": "", "a b": ""} {
		all, err := c.Doctor(t.Context(), asker)
		if err != nil || len(all) != 1 || all[0].Found != want {
			t.Errorf("asked as %q: %+v, %v", asker, all, err)
		}
	}
}
