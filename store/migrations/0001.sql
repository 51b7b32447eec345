-- The journal of one site. Times are milliseconds since 1970, UTC, by the
-- gateway's clock, and only ever shown or compared with each other; order is by
-- number. Blobs stand last, so that a look at a row's head reads one page.

CREATE TABLE register (
  no          INTEGER PRIMARY KEY,
  register_id TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE device (
  no          INTEGER PRIMARY KEY,
  device_id   TEXT    NOT NULL UNIQUE,
  register    INTEGER NOT NULL REFERENCES register,
  kind        TEXT    NOT NULL,
  label       TEXT    NOT NULL,
  disabled    INTEGER NOT NULL,
  removed     INTEGER NOT NULL DEFAULT 0, -- its sales and their evidence stay
  created_at  INTEGER NOT NULL,
  secret_hash BLOB    NOT NULL
) STRICT;

-- Register keys, sealed: never in clear (CONTRACT.md promise 6).
CREATE TABLE register_key (
  register    INTEGER NOT NULL REFERENCES register,
  version     INTEGER NOT NULL,
  state       TEXT    NOT NULL,
  added_at    INTEGER NOT NULL,
  sealed      BLOB    NOT NULL,
  PRIMARY KEY (register, version)
) STRICT, WITHOUT ROWID;

-- One small row per register: the cursor of its queue, the attempt under way
-- at its head, and its totals. All that changes when a call is confirmed is
-- here and at the ends of append-only tables, so the cost does not grow with
-- the backlog.
CREATE TABLE queue (
  register      INTEGER PRIMARY KEY REFERENCES register,
  head          INTEGER NOT NULL DEFAULT 1, -- rseq of the first event that still owes calls
  tail          INTEGER NOT NULL DEFAULT 0, -- the last rseq given
  step          INTEGER NOT NULL DEFAULT 0, -- calls of the head event that are confirmed
  attempts      INTEGER NOT NULL DEFAULT 0, -- begun for the call at the head
  doubt_since   INTEGER NOT NULL DEFAULT 0, -- 0: no attempt is in doubt
  next_attempt  INTEGER NOT NULL DEFAULT 0,
  blocked_since INTEGER NOT NULL DEFAULT 0,
  class         INTEGER NOT NULL DEFAULT 0, -- why the last attempt did not confirm the call
  accepted      INTEGER NOT NULL DEFAULT 0, -- sales, ever
  confirmed     INTEGER NOT NULL DEFAULT 0,
  quarantined   INTEGER NOT NULL DEFAULT 0, -- now
  resolved      INTEGER NOT NULL DEFAULT 0, -- by a person, ever
  problem       TEXT    NOT NULL DEFAULT ''
) STRICT;

-- What devices reported, byte for byte, and the frozen calls it owes. The row
-- is its own audit line for "accepted". The event that opens a sale stands for
-- the sale: it alone has ref, operation and currency.
CREATE TABLE event (
  no        INTEGER PRIMARY KEY,
  sale      INTEGER NOT NULL,  -- no of the event that opened it
  device    INTEGER NOT NULL,
  register  INTEGER NOT NULL,
  rseq      INTEGER,           -- its place in the register's queue; NULL: owes nothing now
  kind      INTEGER NOT NULL,
  flags     INTEGER NOT NULL,
  at        INTEGER NOT NULL,  -- accepted
  total     INTEGER NOT NULL,  -- minor units; of an end
  ref       TEXT,              -- the device's sale id
  operation TEXT,              -- the client-made id
  currency  TEXT,
  raw       BLOB    NOT NULL,
  calls     BLOB    NOT NULL
) STRICT;
-- The columns stand in the order in which they grow: all registers' queues and
-- all devices' sale ids (UUIDs of version 7, counters) grow at the same end of
-- their index, so a batch changes few pages of it. Look-ups name both columns.
CREATE UNIQUE INDEX event_queue ON event (rseq, register) WHERE rseq IS NOT NULL;
CREATE UNIQUE INDEX event_ref   ON event (ref, device)    WHERE ref IS NOT NULL;
CREATE UNIQUE INDEX event_end   ON event (sale)           WHERE kind IN (3, 4) AND ref IS NULL;

-- Updates may be many; each is told from the others by its seq, or else by its
-- content.
CREATE TABLE update_seen (
  sale  INTEGER NOT NULL,
  mark  BLOB    NOT NULL,
  event INTEGER NOT NULL,
  PRIMARY KEY (sale, mark)
) STRICT, WITHOUT ROWID;

-- What became of a sale. No row while nothing did, and then it waits.
CREATE TABLE sale (
  no           INTEGER PRIMARY KEY, -- of the event that opened it
  state        INTEGER NOT NULL,
  changed_at   INTEGER NOT NULL,
  last_update  INTEGER,             -- its newest update event: the one before it need not be sent
  operation    TEXT,                -- as the service calls it, where that differs
  fiscal_state TEXT,
  document     TEXT,
  answer       INTEGER              -- the answer that settled it
) STRICT;

CREATE INDEX sale_pending ON sale (no) WHERE fiscal_state = 'pending';

-- Answers of OpenFiskal that confirmed a call, verbatim.
CREATE TABLE answer (
  no         INTEGER PRIMARY KEY,
  event      INTEGER NOT NULL,
  step       INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  attempts   INTEGER NOT NULL,
  status     INTEGER NOT NULL,
  adopted    INTEGER NOT NULL, -- read back by a look-up
  request_id TEXT    NOT NULL,
  body       BLOB    NOT NULL
) STRICT;

-- Attempts that confirmed nothing; the same trouble again adds to times.
CREATE TABLE attempt (
  no         INTEGER PRIMARY KEY,
  event      INTEGER NOT NULL,
  step       INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  last_at    INTEGER NOT NULL,
  times      INTEGER NOT NULL,
  class      INTEGER NOT NULL,
  status     INTEGER NOT NULL,
  request_id TEXT    NOT NULL,
  code       TEXT    NOT NULL,
  detail     TEXT    NOT NULL,
  body       BLOB    NOT NULL
) STRICT;
CREATE INDEX attempt_event ON attempt (event);

-- Receipts that wait for their device; the body is made from the answer.
CREATE TABLE mailbox (
  no           INTEGER PRIMARY KEY,
  device       INTEGER NOT NULL,
  sale         INTEGER NOT NULL,
  answer       INTEGER NOT NULL,
  at           INTEGER NOT NULL,
  delayed      INTEGER NOT NULL,
  delivered_at INTEGER
) STRICT;
CREATE INDEX mailbox_waiting ON mailbox (device, no) WHERE delivered_at IS NULL;

-- Evidence: what could not become part of a sale, byte for byte.
CREATE TABLE refused (
  no      INTEGER PRIMARY KEY,
  device  INTEGER NOT NULL,
  kind    INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  status  TEXT    NOT NULL, -- quarantined or conflict
  ref     TEXT    NOT NULL, -- as far as it could be read
  code    TEXT    NOT NULL,
  field   TEXT    NOT NULL,
  message TEXT    NOT NULL,
  mark    BLOB    NOT NULL, -- tells a repeated one
  raw     BLOB    NOT NULL,
  UNIQUE (device, mark)
) STRICT;

-- MQTT sessions that must survive a restart; the broker's own form.
CREATE TABLE mqtt_session (
  device_id TEXT PRIMARY KEY,
  content   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Who changed what. Never a key, never a payload.
CREATE TABLE audit (
  no      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  who     TEXT    NOT NULL,
  what    TEXT    NOT NULL,
  subject TEXT    NOT NULL,
  detail  TEXT    NOT NULL
) STRICT;
