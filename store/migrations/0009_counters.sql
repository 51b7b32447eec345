-- The event counter of the device that last sold at a register stands in the row of its
-- queue, which every sale changes anyway: in the device's own row it was a page more of
-- each commit. A counter is in one of the two places; device.last_seq is NULL where it is
-- here.
ALTER TABLE queue ADD COLUMN seq_device INTEGER NOT NULL DEFAULT 0; -- whose counter it is; 0: nobody's
ALTER TABLE queue ADD COLUMN seq        INTEGER NOT NULL DEFAULT 0; -- the highest
