package admin

import (
	"context"
	"errors"
	"fmt"
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
	return "edgegw-support-" + name[:min(len(name), 40)] + "-" + at.UTC().Format("20060102T150405Z") + ".zip"
}

func (a api) supportBundle(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	if err := SendBundle(w, "edgegw-support.zip", func(to io.Writer) error { return a.b.SupportBundle(r.Context(), to, by(r)) }); err != nil {
		fail(w, err, secret.Text{})
	}
}

// SendBundle answers with the bundle that is made. An error is given back where the
// answer has not begun; later it breaks the connection, so that half a bundle does
// not pass for one.
func SendBundle(w http.ResponseWriter, name string, write func(io.Writer) error) error {
	b := &bundleWriter{w: w, name: name}
	err := write(b)
	if err != nil && b.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

type bundleWriter struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (b *bundleWriter) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		h := b.w.Header()
		h.Set("Content-Type", BundleType)
		h.Set("Content-Disposition", `attachment; filename="`+b.name+`"`)
		h.Set("Cache-Control", "no-store")
	}
	return b.w.Write(p)
}

// SupportBundle asks the gateway for a bundle.
func (c *Client) SupportBundle(ctx context.Context, w io.Writer, by string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://edgegw"+Prefix+"/support-bundle", nil)
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	if by == "" {
		by = LocalUser()
	}
	r.Header.Set(HeaderBy, ascii(by))
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", plain(err))
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 300 {
		text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
		if err != nil {
			return fmt.Errorf("read the gateway's answer: %w", err)
		}
		return refused(answer.StatusCode, text)
	}
	if mediaType(answer.Header.Get("Content-Type")) != BundleType {
		return errors.New("ask the gateway: it does not know support bundles; it is of another version")
	}
	if _, err := io.Copy(w, answer.Body); err != nil {
		return fmt.Errorf("read the support bundle: %w", err)
	}
	return nil
}
