package page

import (
	"io"

	"edgegw/admin"
	"edgegw/secret"
)

// backupView tells when the last backup was made.
type backupView struct{ Last *admin.AuditEntry }

func (s *Site) backupForm(v *visit) error { return s.showBackup(v, nil) }

func (s *Site) showBackup(v *visit, f *admin.Refusal) error {
	lines, err := s.Backend.Audit(v.r.Context(), admin.AuditFilter{What: "backup made", Limit: 1})
	if err != nil {
		return err
	}
	in := backupView{}
	if len(lines) > 0 {
		in.Last = &lines[0]
	}
	return v.show("backup", view{Title: v.t("Backup"), At: "backup", Content: in, Refusal: f})
}

// backupFile gives the file. Nobody sees what he types, so it is typed twice.
func (s *Site) backupFile(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	passphrase := v.r.PostForm.Get("passphrase")
	if passphrase != v.r.PostForm.Get("again") {
		return s.showBackup(v, &admin.Refusal{Code: "invalid", Message: "The two passphrases differ.", Remedy: "Type it twice."})
	}
	st, err := s.Backend.Status(v.r.Context())
	if err != nil {
		return err
	}
	err = admin.SendFile(v.w, admin.BackupName(st.Site, s.Now()), admin.BackupType, func(to io.Writer) error {
		return s.Backend.Backup(v.r.Context(), secret.FromString(passphrase), to, v.by())
	})
	if err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showBackup(v, f) })
	}
	return nil
}
