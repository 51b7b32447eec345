package gateway

import (
	"context"

	"edgegw/admin"
	"edgegw/doctor"
)

// overview adds to the status what it tells of the last day and of the box. It is
// asked for every second while somebody has a page open: nothing here reads more for
// a longer journal.
func (k *control) overview(ctx context.Context, s *admin.Status) error {
	now := k.now().UTC()
	all := k.uplinkHistory(now)
	s.Outages = outages(all, now.Add(-historySpan))
	if n := len(all); n > 0 && k.relay != nil {
		s.UplinkFrom = all[n-1].From
	}
	c := k.clock.State()
	s.Clock = admin.Clock{Now: now, Quality: string(c.Quality), Source: string(c.Source)}
	s.Disk = diskOf(space(k.config.DataDir), k.config.Store.MinFreeBytes)
	if s.Disk != nil {
		database, log, err := k.db.Sizes()
		if err != nil {
			return err
		}
		s.Disk.Database = database + log
		if err := k.forecast(ctx, s.Disk); err != nil {
			return err
		}
	}
	o, ok, err := k.db.Oldest(ctx)
	if ok {
		s.Oldest = &admin.WaitingSale{SaleID: o.SaleID, DeviceID: o.Device, RegisterID: o.Register, Since: o.Since}
	}
	return err
}

// diskOf says how the doctor judges the space.
func diskOf(s *doctor.Space, least int64) *admin.Disk {
	if s == nil {
		return nil
	}
	d := &admin.Disk{Free: s.Free, Total: s.Total, State: admin.DiskOK}
	switch s.Judge(least) {
	case doctor.Failed:
		d.State = admin.DiskShort
	case doctor.Notice:
		d.State = admin.DiskLow
	}
	return d
}
