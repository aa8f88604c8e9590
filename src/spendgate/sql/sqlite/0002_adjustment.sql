-- What has been adjusted, so that the same adjustment again changes nothing. Its entries, with who
-- and why, are in the outbox like those of calls.

CREATE TABLE adjustment (
  adjustment_id TEXT PRIMARY KEY,
  fp            TEXT NOT NULL,
  hold_id       TEXT NOT NULL,
  amount        INTEGER NOT NULL
) WITHOUT ROWID;
