package gateway

import (
	"database/sql/driver"
	"os"
	"path/filepath"
	"testing"

	"edgegw/fiscal/sandbox"
)

// An update cannot come while the database is opened, and can before and after; a lock
// that a killed gateway has left hinders none, and another program's is left alone.
func TestTheUpdateLock(t *testing.T) {
	for _, row := range []struct {
		name, left  string // what is there before
		nofolder    bool
		during      bool // it is there while the database is opened
		after       string
		afterExists bool
	}{
		{name: "a start", during: true},
		{name: "the lock of a run that was killed", left: "edgegw 4711\n", during: true},
		{name: "another program's", left: "backup of the box", during: true, after: "backup of the box", afterExists: true},
		{name: "no supervisor", nofolder: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, sandbox.Options{})
			s.options.UpdateLock = filepath.Join(t.TempDir(), "balena", "updates.lock")
			if !row.nofolder {
				must(t, os.Mkdir(filepath.Dir(s.options.UpdateLock), 0o700))
			}
			if row.left != "" {
				must(t, os.WriteFile(s.options.UpdateLock, []byte(row.left), 0o600))
			}
			opened, during := false, false
			s.options.Disk = func(c driver.Connector) driver.Connector {
				_, err := os.Stat(s.options.UpdateLock)
				if !opened {
					opened, during = true, err == nil
				}
				return c
			}
			s.on()
			defer s.off()
			text, err := os.ReadFile(s.options.UpdateLock)
			if !opened || during != row.during || (err == nil) != row.afterExists || string(text) != row.after {
				t.Errorf("opened %t, locked %t, afterwards %q, %v", opened, during, text, err)
			}
		})
	}
}
