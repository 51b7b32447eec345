package gateway

import (
	"time"

	"edgegw/health"
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
		b.Set(health.Condition{Code: "certificate_renewal", Severity: health.Attention, Since: t.Since, Title: "The server certificate could not be made anew: " + t.Err.Error(),
			Remedy: "The one before is served, until " + date(k.authority.Leaf().NotAfter) + ". Mend what is named, the site CA's key from a backup, or the disk that holds data_dir: it is tried again every hour"})
	}
	ending(b, now, k.authority.End(), caNotice, caAttention, health.Condition{Code: "site_ca_ending", Title: "The site CA",
		Remedy: "Every device must trust a new one, and client certificates are made anew: remove site-ca.pem and site-ca-key.pem from data_dir, start again, and give each device the new site-ca.pem"})
}

func (k *control) operatorsCertificate(b *health.Board, now time.Time) {
	if err := k.files.Problem(); err != nil {
		b.Set(health.Condition{Code: "certificate_files", Severity: health.Attention, Since: k.since, Title: "The certificate in mqtt.cert_file is not in use: " + err.Error(),
			Remedy: "The one before is still served. Put a certificate and its key in place again"})
	}
	ending(b, now, k.files.Leaf().NotAfter, endingNotice, endingAttention, health.Condition{Code: "certificate_ending", Title: "The certificate in mqtt.cert_file",
		Remedy: "Put a new one and its key in place: it is served from the next connection on, and no connection is dropped"})
}

// ending raises c where end is near or has passed; its title is what ends.
func ending(b *health.Board, now, end time.Time, notice, attention time.Duration, c health.Condition) {
	left := end.Sub(now)
	if left > notice {
		return
	}
	c.Since = end.Add(-notice)
	c.Severity = health.Notice
	if left <= attention {
		c.Severity = health.Attention
	}
	if left > 0 {
		c.Title += " ends on " + date(end) + ", and devices will refuse the gateway from then on"
	} else {
		c.Title += " ended on " + date(end) + ": devices that look at the date refuse the gateway"
	}
	b.Set(c)
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
