package gateway

import (
	"context"

	"edgegw/admin"
	"edgegw/sale"
)

// Audit lists lines of the audit trail.
func (k *control) Audit(ctx context.Context, f admin.AuditFilter) ([]admin.AuditEntry, error) {
	lines, err := k.db.Audit(ctx, sale.AuditFilter{Who: f.Who, What: f.What, Subject: f.Subject, From: f.From, To: f.To, Before: f.Before, Limit: f.Lines()})
	if err != nil {
		return nil, err
	}
	list := make([]admin.AuditEntry, len(lines))
	for i, l := range lines {
		list[i] = admin.AuditEntry(l)
	}
	return list, nil
}
