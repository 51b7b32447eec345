// Package provision reads what a back office sends to fill a site: devices,
// their registers and register keys, one per row of a CSV file, plain or
// encrypted for this box alone. It promises that a file is read whole and
// checked before anybody acts on a row, that a row that cannot be read is
// reported with its line and never guessed, and that no report shows a key.
// What becomes of a row is the gateway's business.
package provision

import (
	"fmt"

	"edgegw/sale"
	"edgegw/secret"
)

// Limits of one file.
const (
	MaxBytes = 1 << 20 // of CSV, and of the file it comes in
	MaxRows  = 5000
)

// Row is one line: a device, and the key of its register if there is one.
type Row struct {
	Line     int // in the file, from 1
	Device   sale.DeviceID
	Register sale.RegisterID
	Kind     string // "" where the file does not say
	Label    string
	Key      secret.Text
	Fault    string // why this row cannot be used; "" where it can
}

// Fault is what is wrong with a file as a whole. It never shows what stands in
// it.
type Fault struct {
	Line int // 0 where it has none
	Text string
}

func (f *Fault) Error() string {
	if f.Line == 0 {
		return f.Text
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.Text)
}
