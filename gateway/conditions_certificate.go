package gateway

import (
	"time"

	"edgegw/health"
	"edgegw/wording"
)

// How long before its end a certificate is spoken of. Nobody but its operator
// can make a new one; the site's own are renewed by themselves.
const (
	endingNotice    = 30 * 24 * time.Hour
	endingAttention = 14 * 24 * time.Hour
	caNotice        = 2 * 365 * 24 * time.Hour // every device must get the new one
	caAttention     = 180 * 24 * time.Hour
)

// certificateSide raises what will keep devices from trusting the gateway.
func (k *control) certificateSide(b *health.Board, now time.Time) {
	if k.authority == nil {
		return // not open yet
	}
	if k.files != nil {
		k.operatorsCertificate(b, now)
	} else if t := k.authority.Trouble(); t != nil {
		b.Set(health.Condition{Code: "certificate_renewal", Severity: health.Attention, Since: t.Since}.Saying(
			wording.Of("The server certificate could not be made anew: %s", wording.Quote(t.Err.Error())),
			wording.Of("The one before is served, until %s. Mend what is named, the site CA's key from a backup, or the disk that holds data_dir: it is tried again every hour", date(k.authority.Leaf().NotAfter))))
	}
	ending(b, now, k.authority.End(), caNotice, caAttention, "site_ca_ending", wording.Of("The site CA"),
		wording.Of("Every device must trust a new one, and client certificates are made anew: remove site-ca.pem and site-ca-key.pem from data_dir, start again, and give each device the new site-ca.pem"))
}

func (k *control) operatorsCertificate(b *health.Board, now time.Time) {
	if err := k.files.Problem(); err != nil {
		b.Set(health.Condition{Code: "certificate_files", Severity: health.Attention, Since: k.since}.Saying(
			wording.Of("The certificate in mqtt.cert_file is not in use: %s", wording.Quote(err.Error())),
			wording.Of("The one before is still served. Put a certificate and its key in place again")))
	}
	ending(b, now, k.files.Leaf().NotAfter, endingNotice, endingAttention, "certificate_ending", wording.Of("The certificate in mqtt.cert_file"),
		wording.Of("Put a new one and its key in place: it is served from the next connection on, and no connection is dropped"))
}

// ending raises a condition where the end of what is near or has passed.
func ending(b *health.Board, now, end time.Time, notice, attention time.Duration, code string, what, remedy wording.Sentence) {
	left := end.Sub(now)
	if left > notice {
		return
	}
	c := health.Condition{Code: code, Severity: health.Notice, Since: end.Add(-notice)}
	if left <= attention {
		c.Severity = health.Attention
	}
	title := wording.Of("%s ended on %s: devices that look at the date refuse the gateway", what, date(end))
	if left > 0 {
		title = wording.Of("%s ends on %s, and devices will refuse the gateway from then on", what, date(end))
	}
	b.Set(c.Saying(title, remedy))
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
