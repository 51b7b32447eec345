package gateway

import (
	"context"

	"edgegw/admin"
	"edgegw/sale"
)

// Audit lists lines of the audit trail.
func (k *control) Audit(ctx context.Context, f admin.AuditFilter) ([]admin.AuditEntry, error) {
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
