-- Data of a backup that was put back. What was sent since the backup is read back
-- from OpenFiskal before anything is sent on one of its registers.

-- A register whose journal is a backup's.
CREATE TABLE restored (
  register INTEGER PRIMARY KEY REFERENCES register,
  since    INTEGER NOT NULL, -- operations made before are known to the backup; 0: nobody knows
  until    INTEGER NOT NULL, -- the newest event of the backup
  at       INTEGER NOT NULL, -- put back
  read_at  INTEGER NOT NULL DEFAULT 0, -- OpenFiskal's list was read; 0: not yet
  refused  INTEGER NOT NULL DEFAULT 0  -- it does not give the list: calls that may have been carried out go to a person
) STRICT;

-- What OpenFiskal has of such a register that the backup may not know.
CREATE TABLE read_back (
  register   INTEGER NOT NULL REFERENCES register,
  operation  TEXT    NOT NULL,
  ref        TEXT    NOT NULL, -- the device's sale id, where it has one
  cashier    TEXT    NOT NULL,
  made_at    INTEGER NOT NULL, -- 0: not said
  PRIMARY KEY (register, operation)
) STRICT, WITHOUT ROWID;
CREATE INDEX read_back_ref ON read_back (register, ref);
