package doctor

import "edgegw/wording"

// Judge says whether more than least bytes are free, and more than twice as much.
func (s *Space) Judge(least int64) State {
	switch {
	case s.Free < least:
		return Failed
	case s.Free < 2*least:
		return Notice
	}
	return OK
}

func (d Data) space(r *report) {
	s := d.Space
	if s == nil {
		r.skipAll(wording.Of("This system does not tell"), "disk_space", "disk_inodes")
		return
	}
	found := wording.Of("%d MiB of %d MiB are free", s.Free/mebibyte, s.Total/mebibyte)
	if d.DaysLeft != nil {
		found = wording.Of("%s, room for %d days of sales like the last one without an uplink", found, *d.DaysLeft)
	}
	switch s.Judge(d.MinFree) {
	case Failed:
		r.failed("disk_space", wording.Of("%s, and store.min_free_bytes is %d MiB", found, d.MinFree/mebibyte), makeRoom, "path", d.Dir)
	case Notice:
		r.notice("disk_space", wording.Of("%s, less than twice store.min_free_bytes", found), makeRoom, "path", d.Dir)
	default:
		r.well("disk_space", found)
	}
	switch {
	case s.Inodes == 0:
		r.skip("disk_inodes", "This file system does not count them")
	case s.FreeInodes < leastInodes:
		r.failed("disk_inodes", wording.Of("%d of %d inodes are free", s.FreeInodes, s.Inodes), makeInodes, "path", d.Dir)
	default:
		r.ok("disk_inodes", "%d of %d inodes are free", s.FreeInodes, s.Inodes)
	}
}
