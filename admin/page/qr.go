package page

import (
	"fmt"
	"net/url"
	"strings"

	"rsc.io/qr"

	"edgegw/admin"
)

// qrCode is a QR code as a picture: the path of its dark squares, and its size with
// the quiet zone of four squares around it.
type qrCode struct {
	Path string
	Size int
}

// qrOf draws a text, or nothing where it is too long.
func qrOf(text string) qrCode {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return qrCode{}
	}
	const quiet = 4
	var path strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	return qrCode{path.String(), code.Size + 2*quiet}
}

// mqttURL is what firmware can scan: where to connect, as whom, with what.
func mqttURL(c admin.Credentials) string {
	u, err := url.Parse(c.MQTTURL)
	if err != nil {
		return ""
	}
	u.User = url.UserPassword(c.Username, c.Password)
	return u.String()
}
