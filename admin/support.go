package admin

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// Supporter tells everything about a site to somebody who was never there.
type Supporter interface {
	// SupportBundle writes a ZIP of less than 10 MB without secrets, with a manifest.
	// After an error what was written is no ZIP. It takes about as long as the doctor.
	SupportBundle(ctx context.Context, w io.Writer, by string) error
}

// BundleType is the media type of a bundle.
const BundleType = "application/zip"

// BundleName is what the file of a bundle is called: edgegw-support-SITE-TIME.zip.
func BundleName(site string, at time.Time) string {
	return fileName("edgegw-support-", site, at, ".zip")
}

func fileName(begin, site string, at time.Time, end string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, site)
	name = strings.Trim(name, "-")
	if name == "" || sale.LooksLikeKey(site) {
		name = "site"
	}
	return begin + name[:min(len(name), 40)] + "-" + at.UTC().Format("20060102T150405Z") + end
}

func (a api) supportBundle(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	if err := SendFile(w, "edgegw-support.zip", BundleType, func(to io.Writer) error { return a.b.SupportBundle(r.Context(), to, by(r)) }); err != nil {
		fail(w, err, secret.Text{})
	}
}

// SupportBundle asks the gateway for a bundle.
func (c *Client) SupportBundle(ctx context.Context, w io.Writer, by string) error {
	return c.file(ctx, http.MethodPost, "/support-bundle", nil, BundleType, w, by)
}
