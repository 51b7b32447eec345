package page

import (
	"io"

	"edgegw/admin"
)

func (s *Site) support(v *visit) error {
	return v.show("support", view{Title: v.t("Support bundle"), At: "support"})
}

// supportBundle gives a file. It is a form and no link, because it leaves a line in
// the audit trail.
func (s *Site) supportBundle(v *visit) error {
	st, err := s.Backend.Status(v.r.Context())
	if err != nil {
		st.Site = "" // that is when it is needed most
	}
	return admin.SendFile(v.w, admin.BundleName(st.Site, s.Now()), admin.BundleType, func(to io.Writer) error {
		return s.Backend.SupportBundle(v.r.Context(), to, v.by())
	})
}
