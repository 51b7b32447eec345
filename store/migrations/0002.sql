-- Quarantine with decisions, gaps in what devices count, and books that can be
-- checked. It changes a small row per register and device; event and sale stay
-- as they are.

-- Kept by itself, not the remainder of the others: so that accepted =
-- confirmed + waiting + quarantined + resolved is a statement that can be false.
ALTER TABLE queue ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0; -- sales, now
ALTER TABLE queue ADD COLUMN done    INTEGER NOT NULL DEFAULT 0; -- the last place whose event was confirmed
ALTER TABLE queue ADD COLUMN blocker INTEGER NOT NULL DEFAULT 0; -- the quarantine item it waits for
UPDATE queue SET waiting = accepted - confirmed - quarantined - resolved, done = head - 1;

-- Sales that cannot go on without a person. One that came back and is refused
-- again is a new item. Items and rows of refused share their numbers: people
-- name both by them.
CREATE TABLE quarantine (
  no          INTEGER PRIMARY KEY,
  sale        INTEGER NOT NULL,
  register    INTEGER NOT NULL,
  event       INTEGER NOT NULL, -- whose call could not be confirmed
  step        INTEGER NOT NULL, -- of that call
  place       INTEGER NOT NULL, -- of the call among the event's
  at          INTEGER NOT NULL,
  open        INTEGER NOT NULL, -- 1 until it is decided
  blocking    INTEGER NOT NULL, -- 1: the queue waits for the decision
  in_doubt    INTEGER NOT NULL, -- 1: the call may have been carried out
  class       INTEGER NOT NULL,
  status      INTEGER NOT NULL,
  request_id  TEXT    NOT NULL,
  code        TEXT    NOT NULL,
  detail      TEXT    NOT NULL,
  param       TEXT    NOT NULL,
  body        BLOB    NOT NULL  -- what OpenFiskal said
) STRICT;
CREATE UNIQUE INDEX quarantine_sale ON quarantine (sale) WHERE open = 1;
CREATE INDEX quarantine_register ON quarantine (register, no) WHERE open = 1;

-- Events of such sales: out of their queue (out = 1), back in it (0), or never
-- to return (2), because a person named an operation that stands for them. A row
-- that is back says where its calls go on.
CREATE TABLE held (
  event       INTEGER PRIMARY KEY,
  sale        INTEGER NOT NULL,
  out         INTEGER NOT NULL,
  rseq        INTEGER,          -- its place; NULL: none, it came while its queue went on
  step        INTEGER NOT NULL, -- calls of it that are confirmed
  attempts    INTEGER NOT NULL, -- begun for the next one
  doubt_since INTEGER NOT NULL
) STRICT;
CREATE INDEX held_sale ON held (sale) WHERE out = 1;

-- What became of items, of both kinds.
CREATE TABLE decision (
  item      INTEGER PRIMARY KEY,
  at        INTEGER NOT NULL,
  decision  TEXT    NOT NULL, -- retry, resolve or discard
  who       TEXT    NOT NULL,
  reason    TEXT    NOT NULL,
  operation TEXT    NOT NULL  -- at OpenFiskal, of a resolve
) STRICT;

ALTER TABLE mailbox ADD COLUMN item INTEGER NOT NULL DEFAULT 0; -- a receipt that says "quarantined"; answer is 0 then

ALTER TABLE device ADD COLUMN last_seq INTEGER; -- the highest event counter; NULL before the first
CREATE TABLE seq_gap (
  device INTEGER NOT NULL,
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL,
  at     INTEGER NOT NULL, -- noticed
  PRIMARY KEY (device, first, last)
) STRICT, WITHOUT ROWID;
