-- Alerts on their way to a notifier, so that host and job tell each crossing once, and a place that
-- is down is tried again.

CREATE TABLE delivery (
  delivery_id text COLLATE "C" PRIMARY KEY, -- alert and notifier
  route       text NOT NULL,                -- the notifier's name
  alert       text NOT NULL,                -- JSON
  state       text NOT NULL CHECK (state IN ('waiting', 'sent', 'dead')),
  attempts    integer NOT NULL,
  due_at      bigint NOT NULL,              -- when it may be tried next, microseconds
  ended_at    bigint,
  error       text                          -- of the last attempt; names no secret
);

CREATE INDEX delivery_due ON delivery (state, due_at);
