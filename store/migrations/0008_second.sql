-- The second journal beside the database, and what became of a database that was
-- damaged. It adds small tables only.

-- Which generation of the second journal follows this database, change by change.
-- '': none does, and what it holds may be old.
CREATE TABLE second (
  only       INTEGER PRIMARY KEY CHECK (only = 1),
  generation TEXT    NOT NULL
) STRICT;
INSERT INTO second (only, generation) VALUES (1, '');

-- Each time that the database was made again, or mended, after damage.
CREATE TABLE rebuilt (
  no      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  cause   TEXT    NOT NULL,
  aside   TEXT    NOT NULL, -- the file that was damaged; '': it was mended in its place
  kept    TEXT    NOT NULL, -- in words
  unknown TEXT    NOT NULL, -- likewise; '': nothing is missing
  trail   INTEGER NOT NULL, -- the line of the audit trail that says so
  seen_at INTEGER NOT NULL DEFAULT 0,
  seen_by TEXT    NOT NULL DEFAULT ''
) STRICT;

-- Sales of a register whose rows are gone, and that are known by number only: they
-- were confirmed, or closed by a person, before the database was made again.
CREATE TABLE forgotten (
  register  INTEGER PRIMARY KEY,
  confirmed INTEGER NOT NULL,
  resolved  INTEGER NOT NULL
) STRICT;
