package admin

import (
	"context"
	"io"
	"net/http"
	"time"

	"edgegw/secret"
)

// BackupMaker keeps a site's data elsewhere.
type BackupMaker interface {
	// Backup writes the data, sealed with a passphrase, while sales come in. After an
	// error what was written is no backup.
	Backup(ctx context.Context, passphrase secret.Text, w io.Writer, by string) error
}

// BackupType is the media type of a backup.
const BackupType = "application/age-encryption"

type backupBody struct {
	Passphrase string `json:"passphrase"`
}

func (b *backupBody) fields() []field { return []field{{"passphrase", "a string", &b.Passphrase}} }

func (a api) backup(w http.ResponseWriter, r *http.Request) {
	var b backupBody
	f := query(r)
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	passphrase := secret.FromString(b.Passphrase)
	if f != nil {
		fail(w, f, passphrase)
		return
	}
	if err := SendFile(w, "edgegw.backup", BackupType, func(to io.Writer) error { return a.b.Backup(r.Context(), passphrase, to, by(r)) }); err != nil {
		fail(w, err, passphrase)
	}
}

// Backup asks the gateway for a backup.
func (c *Client) Backup(ctx context.Context, passphrase secret.Text, w io.Writer, by string) error {
	return c.file(ctx, http.MethodPost, "/backup", backupBody{string(passphrase.Reveal())}, BackupType, w, by)
}

// BackupName is what the file of a backup is called: edgegw-SITE-TIME.backup.
func BackupName(site string, at time.Time) string { return fileName("edgegw-", site, at, ".backup") }
