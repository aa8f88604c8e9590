-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.
-- A column that is null has its default; Delta takes a check that answers null for a violation.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  budget_id STRING NOT NULL COMMENT 'The budget; of a raise the one that is raised',
  raise_id STRING COMMENT 'Names a raise; null in a budget\'s own row',
  raise_usd DECIMAL(28,9) COMMENT 'What a raise adds to the limit, in USD',
  reason STRING COMMENT 'Why the limit is raised',
  expires_at TIMESTAMP COMMENT 'End of the budget or the raise; null for none',
  scope STRING COMMENT 'Who it covers: agent:triage-bot, org:acme,user:*, or all',
  limit_usd DECIMAL(28,9) COMMENT 'The limit in USD, without raises',
  `window` STRING COMMENT 'minute … month, lifetime, rolling:24h; null for month',
  tz STRING COMMENT 'IANA time zone of the window; null for UTC',
  rollover_max_usd DECIMAL(28,9) COMMENT 'The most carried into the next window, in USD',
  soft_cap DOUBLE COMMENT 'Fraction from which models are downgraded; null for 0.8',
  hard_cap DOUBLE COMMENT 'Fraction that is never passed; null for 1',
  auto_downgrade STRING COMMENT 'Steps as JSON: [{"from": ["big"], "to": "small"}]',
  disable_tools ARRAY<STRING> COMMENT 'Tools dropped from the soft cap on',
  alerts ARRAY<DOUBLE> COMMENT 'Fractions of the limit that alert people',
  routes ARRAY<STRING> COMMENT 'Names of the notifiers of its alerts',
  mode STRING COMMENT 'enforce or shadow; null for enforce',
  bound STRING COMMENT 'strict or counted; null for strict',
  fit BOOLEAN COMMENT 'Whether answers shrink to what is left; null for true',
  min_output_tokens INT COMMENT 'Where fit stops; null for 256',
  trust MAP<STRING,STRING> COMMENT 'Per dimension: trusted or asserted',
  refusal STRING COMMENT 'http or in_band; null for http',
  on_client_abort STRING COMMENT 'drain or close; null for drain',
  on_store_error STRING COMMENT 'refuse or allow; null for refuse',
  loop_guard STRING COMMENT 'As JSON: {"repeats": 5, "minutes": 10}',
  idle_ttl STRING COMMENT 'Idle time that forgets a session or task, such as 72h',
  owner STRING
    -- databricks: DEFAULT 'people'
    COMMENT 'file, people or import; sync_policies writes it',
  synced_at TIMESTAMP COMMENT 'When sync_policies changed this row last'
)
USING DELTA
COMMENT 'Budgets and their raises; edit them here, sync_policies brings them into force'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.feature.allowColumnDefaults' = 'supported',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_mode_known
ALTER TABLE $target ADD CONSTRAINT mode_known
CHECK (mode IS NULL OR mode IN ('enforce', 'shadow'))

-- name: check_bound_known
ALTER TABLE $target ADD CONSTRAINT bound_known
CHECK (bound IS NULL OR bound IN ('strict', 'counted'))

-- name: check_refusal_known
ALTER TABLE $target ADD CONSTRAINT refusal_known
CHECK (refusal IS NULL OR refusal IN ('http', 'in_band'))

-- name: check_client_abort_known
ALTER TABLE $target ADD CONSTRAINT client_abort_known
CHECK (on_client_abort IS NULL OR on_client_abort IN ('drain', 'close'))

-- name: check_store_error_known
ALTER TABLE $target ADD CONSTRAINT store_error_known
CHECK (on_store_error IS NULL OR on_store_error IN ('refuse', 'allow'))

-- name: check_limit_positive
ALTER TABLE $target ADD CONSTRAINT limit_positive
CHECK (limit_usd IS NULL OR limit_usd > 0)

-- name: check_caps_ordered
ALTER TABLE $target ADD CONSTRAINT caps_ordered
CHECK (COALESCE(soft_cap, 0.8) <= COALESCE(hard_cap, 1.0))
