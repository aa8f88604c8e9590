-- Alerts on their way to a notifier, so that host and job tell each crossing once, and a place that
-- is down is tried again.

CREATE TABLE delivery (
  delivery_id TEXT PRIMARY KEY,       -- alert and notifier
  route       TEXT NOT NULL,          -- the notifier's name
  alert       TEXT NOT NULL,          -- JSON
  state       TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'dead')),
  attempts    INTEGER NOT NULL,
  due_at      INTEGER NOT NULL,       -- when it may be tried next, microseconds
  ended_at    INTEGER,
  error       TEXT                    -- of the last attempt; names no secret
) WITHOUT ROWID;

CREATE INDEX delivery_due ON delivery (state, due_at);
