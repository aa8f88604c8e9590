-- The shared ledger. Money is integer nano-USD, times are microseconds since the Unix epoch, UTC.
-- Numbered and forward only: a later version adds files, it never edits this one.
-- Texts that are keys sort by their bytes, so that no locale decides the order of locks.

CREATE TABLE meta (
  key   text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

CREATE TABLE budget (
  budget_id text COLLATE "C" PRIMARY KEY,
  source    text NOT NULL,          -- file | people | import: rows the file owns are replaced by it
  spec      text NOT NULL
);

CREATE TABLE budget_raise (
  raise_id  text COLLATE "C" PRIMARY KEY,
  budget_id text COLLATE "C" NOT NULL,
  source    text NOT NULL,
  spec      text NOT NULL
);

CREATE TABLE pause (
  scope     text COLLATE "C" PRIMARY KEY,
  reason    text NOT NULL,
  paused_at bigint NOT NULL
);

CREATE TABLE price (                -- dated rows over the shipped book; append-only
  seq  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  spec text NOT NULL
);

-- Ids are drawn ahead in blocks: a hold is written in the same round trip as its new balances.
CREATE SEQUENCE balance_id AS bigint;

CREATE TABLE balance (              -- one row per budget, value and window: the only contended rows
  bal_id      bigint PRIMARY KEY,
  budget_id   text COLLATE "C" NOT NULL,
  scope_value text COLLATE "C" NOT NULL,
  period      text COLLATE "C" NOT NULL,
  stripe      integer NOT NULL DEFAULT 0,
  spent       bigint NOT NULL DEFAULT 0,
  held        bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
  touched_at  bigint NOT NULL,
  UNIQUE (budget_id, scope_value, period, stripe)
) WITH (
  -- Room for new versions on the row's own page and no index on what changes: a hot row is updated
  -- without touching an index, and its old versions are swept away early.
  fillfactor = 50,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_scale_factor = 0
);

CREATE TABLE hold (                 -- the two-phase transfer
  hold_id    text COLLATE "C" PRIMARY KEY,
  fp         text NOT NULL,
  state      text NOT NULL CHECK (state IN ('held', 'settled', 'voided', 'expired')),
  amount     bigint NOT NULL CHECK (amount >= 0),
  charged    bigint NOT NULL DEFAULT 0,
  bals       bigint[] NOT NULL,
  facts      text NOT NULL,         -- JSON: who, which model, which price version
  events     integer NOT NULL DEFAULT 0,
  expires_at bigint NOT NULL,
  -- The attempt that wrote it: who doesn't know whether its commit arrived finds its own hold by it.
  origin     text NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX hold_due ON hold (expires_at) WHERE state = 'held';

CREATE TABLE outbox (               -- append-only journal and Delta feed: every movement of spent
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id    text COLLATE "C" NOT NULL UNIQUE,
  hold_id     text COLLATE "C" NOT NULL,
  kind        text NOT NULL,
  delta       bigint NOT NULL,
  reserved    bigint NOT NULL,
  bals        bigint[] NOT NULL,
  facts       text NOT NULL,
  charge      text NOT NULL,
  recorded_at bigint NOT NULL,
  batch       bigint
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX outbox_waiting ON outbox (seq) WHERE batch IS NULL;
CREATE INDEX outbox_batch ON outbox (batch) WHERE batch IS NOT NULL;

CREATE TABLE decision_outbox (
  seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  record text NOT NULL,
  batch  bigint
);
CREATE INDEX decision_outbox_waiting ON decision_outbox (seq) WHERE batch IS NULL;
CREATE INDEX decision_outbox_batch ON decision_outbox (batch) WHERE batch IS NOT NULL;

CREATE TABLE batch (                -- numbered once; the number is the sink's transaction version
  number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  is_delivered boolean NOT NULL DEFAULT false
);
CREATE INDEX batch_open ON batch (number) WHERE NOT is_delivered;

INSERT INTO meta VALUES
  ('policy_version', '1'),
  ('ledger_id', replace(gen_random_uuid()::text, '-', ''));
