-- Who may log in, by what, and which keys are under way. It adds small tables
-- only; no row that is there changes.

-- What the vault keeps beside register keys stands in the same table, so that
-- one transaction seals everything anew. These two are no registers: they have
-- no queue, and no register can have their names (sale.PlatformKey, sale.BundleKey).
INSERT INTO register (no, register_id) VALUES (-1, '@platform'), (-2, '@bundle');

-- Client certificates that were issued. One that is not here, or was revoked,
-- lets nobody in.
CREATE TABLE certificate (
  serial     TEXT    PRIMARY KEY,        -- hexadecimal
  device     INTEGER NOT NULL,
  issued_at  INTEGER NOT NULL,
  not_after  INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL DEFAULT 0  -- 0: valid
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_device ON certificate (device);

-- Bearer tokens of the HTTP API. Only a hash is kept, and of a revoked one
-- nothing but that it was there: its name stands in the audit trail.
CREATE TABLE token (
  token_id   TEXT    PRIMARY KEY,
  name       TEXT    NOT NULL,
  scope      TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL DEFAULT 0, -- 0: never
  used_at    INTEGER NOT NULL DEFAULT 0, -- about: at most one write in an hour
  revoked_at INTEGER NOT NULL DEFAULT 0, -- 0: valid
  hash       BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked_at = 0; -- the audit trail says "token:NAME"

-- A register key that OpenFiskal was asked to make (issue, rotate). The row is
-- written before the request leaves and goes with the commit that stores the
-- new key: while it is here, the answer is out or was lost.
CREATE TABLE key_request (
  register INTEGER PRIMARY KEY,
  kind     TEXT    NOT NULL, -- issue or rotate
  at       INTEGER NOT NULL,
  who      TEXT    NOT NULL,
  version  INTEGER NOT NULL, -- of the newest key at that moment: a higher one is the answer, or takes its place
  state    TEXT    NOT NULL  -- asked, or lost: no answer will come any more
) STRICT;

-- Devices that sent what looks like a card number.
CREATE TABLE card_seen (
  device   INTEGER PRIMARY KEY,
  times    INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL
) STRICT;
