package gateway

import (
	"context"

	"edgegw/admin"
	"edgegw/sale"
)

// Audit lists lines of the audit trail.
func (k *control) Audit(ctx context.Context, f admin.AuditFilter) ([]admin.AuditEntry, error) {
	for _, text := range []string{f.Who, f.What, f.Subject} {
		if admin.ContainsKey(text) { // nothing that is typed by mistake gets to the database
			return nil, &admin.Refusal{Code: "invalid", Message: "that is an OpenFiskal key where a name belongs", Remedy: "Have this key replaced: what was typed may have been seen"}
		}
	}
	f.Limit = f.Lines()
	lines, err := k.db.Audit(ctx, sale.AuditFilter(f))
	if err != nil {
		return nil, err
	}
	list := make([]admin.AuditEntry, len(lines))
	for i, l := range lines {
		list[i] = admin.AuditEntry(l)
	}
	return list, nil
}
