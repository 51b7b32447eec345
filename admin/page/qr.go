package page

import (
	"fmt"
	"net"
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

// fromOutside is the gateway's address as a device has to be told it: where the
// gateway listens on every address it calls itself localhost, which a device would
// take for itself. asked is the host that the browser has reached it by.
func fromOutside(address, asked string) string {
	u, err := url.Parse(address)
	by := &url.URL{Host: asked}
	if err != nil || u.Hostname() != "localhost" || by.Hostname() == "" {
		return address
	}
	if ip := net.ParseIP(by.Hostname()); ip != nil && ip.IsLoopback() {
		return address
	}
	u.Host = net.JoinHostPort(by.Hostname(), u.Port())
	return u.String()
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
