package page

import (
	"io"
	"time"

	"edgegw/admin"
)

// export sends an auditor's file; days are those of the box, the last one included.
func (s *Site) export(v *visit) error {
	var p admin.Period
	for name, into := range map[string]*time.Time{"from": &p.From, "to": &p.To} {
		text := v.r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		day, err := time.ParseInLocation(time.DateOnly, text, time.Local)
		if err != nil {
			return &admin.Refusal{Code: "invalid", Message: "That is no day.", Remedy: "Write it as in 2026-11-22."}
		}
		*into = day
	}
	if !p.To.IsZero() {
		p.To = p.To.AddDate(0, 0, 1)
	}
	return admin.SendFile(v.w, "edgegw-export.zip", admin.ExportType, func(to io.Writer) error { return s.Backend.Export(v.r.Context(), p, v.by(), to) })
}
