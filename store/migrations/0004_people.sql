-- Who may use the page, and in which browsers they have logged in. Of passwords and
-- of what browsers show only hashes are kept. A removed person's name stands in the
-- audit trail.
CREATE TABLE person (
  name       TEXT    PRIMARY KEY,
  role       TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL DEFAULT 0, -- 0: never
  seen_at    INTEGER NOT NULL DEFAULT 0, -- about: at most one write in an hour
  hash       BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
  hash       BLOB    PRIMARY KEY,
  person     TEXT    NOT NULL REFERENCES person,
  created_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
