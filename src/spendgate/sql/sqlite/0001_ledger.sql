-- The embedded ledger. Money is integer nano-USD, times are microseconds since the Unix epoch, UTC.
-- Numbered and forward only: a later version adds files, it never edits this one.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE budget (
  budget_id TEXT PRIMARY KEY,
  source    TEXT NOT NULL,          -- file | people | import: rows the file owns are replaced by it
  spec      TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE budget_raise (
  raise_id  TEXT PRIMARY KEY,
  budget_id TEXT NOT NULL,
  source    TEXT NOT NULL,
  spec      TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE pause (
  scope     TEXT PRIMARY KEY,
  reason    TEXT NOT NULL,
  paused_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE price (                -- dated rows over the shipped book; append-only
  seq  INTEGER PRIMARY KEY AUTOINCREMENT,
  spec TEXT NOT NULL
);

CREATE TABLE balance (              -- one row per budget, value and window: the only contended rows
  bal_id      INTEGER PRIMARY KEY,
  budget_id   TEXT NOT NULL,
  scope_value TEXT NOT NULL,
  period      TEXT NOT NULL,
  stripe      INTEGER NOT NULL DEFAULT 0,
  -- A sum beyond 64 bits silently becomes a float in SQLite; the check refuses it.
  spent       INTEGER NOT NULL DEFAULT 0 CHECK (typeof(spent) = 'integer'),
  held        INTEGER NOT NULL DEFAULT 0 CHECK (typeof(held) = 'integer' AND held >= 0),
  touched_at  INTEGER NOT NULL,
  UNIQUE (budget_id, scope_value, period, stripe)
);

CREATE TABLE hold (                 -- the two-phase transfer
  hold_id    TEXT PRIMARY KEY,
  fp         TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('held', 'settled', 'voided', 'expired')),
  amount     INTEGER NOT NULL CHECK (amount >= 0),
  charged    INTEGER NOT NULL DEFAULT 0,
  bals       TEXT NOT NULL,         -- JSON array of bal_id
  facts      TEXT NOT NULL,         -- JSON: who, which model, which price version
  events     INTEGER NOT NULL DEFAULT 0,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX hold_due ON hold (expires_at) WHERE state = 'held';

CREATE TABLE outbox (               -- append-only journal and Delta feed: every movement of spent
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id    TEXT NOT NULL UNIQUE,
  hold_id     TEXT NOT NULL,
  kind        TEXT NOT NULL,
  delta       INTEGER NOT NULL,
  reserved    INTEGER NOT NULL,
  bals        TEXT NOT NULL,
  facts       TEXT NOT NULL,
  charge      TEXT NOT NULL,
  recorded_at INTEGER NOT NULL,
  batch       INTEGER
);
CREATE INDEX outbox_waiting ON outbox (seq) WHERE batch IS NULL;
CREATE INDEX outbox_batch ON outbox (batch) WHERE batch IS NOT NULL;

CREATE TABLE decision_outbox (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  record TEXT NOT NULL,
  batch  INTEGER
);
CREATE INDEX decision_outbox_waiting ON decision_outbox (seq) WHERE batch IS NULL;
CREATE INDEX decision_outbox_batch ON decision_outbox (batch) WHERE batch IS NOT NULL;

CREATE TABLE batch (                -- numbered once; the number is the sink's transaction version
  number       INTEGER PRIMARY KEY AUTOINCREMENT,
  is_delivered INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX batch_open ON batch (number) WHERE is_delivered = 0;

INSERT INTO meta VALUES ('schema_version', '1'), ('policy_version', '1');
