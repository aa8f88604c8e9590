-- Who changed the policy, when and why; and what people and agents ask for.

CREATE TABLE policy_change (        -- append-only, written with the change itself
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  changed_at INTEGER NOT NULL,
  actor      TEXT NOT NULL,
  reason     TEXT NOT NULL,
  kind       TEXT NOT NULL,         -- budget | raise | pause | price | defaults | revocation
  name       TEXT NOT NULL,
  before     TEXT,
  after      TEXT
);

CREATE TABLE budget_request (       -- more budget that somebody asks for
  request_id TEXT PRIMARY KEY,
  status     TEXT NOT NULL,         -- pending | approved | denied
  spec       TEXT NOT NULL
) WITHOUT ROWID;
