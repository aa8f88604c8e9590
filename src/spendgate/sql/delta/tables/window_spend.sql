-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  budget_id STRING NOT NULL COMMENT 'The budget',
  scope STRING NOT NULL COMMENT 'Dimensions of its scope, such as org,team; all for everything',
  scope_value STRING NOT NULL COMMENT 'Values of its scope, in the same order; * for everything',
  `window` STRING NOT NULL
    COMMENT 'minute, hour, day, week, month, lifetime, or a rolling duration',
  window_start TIMESTAMP COMMENT 'First instant of the window; null for lifetime',
  window_end TIMESTAMP COMMENT 'First instant after it; null for lifetime and rolling',
  spent_usd DECIMAL(28,9) NOT NULL COMMENT 'Spend in USD',
  requests BIGINT NOT NULL COMMENT 'Calls that were charged',
  last_event_at TIMESTAMP NOT NULL COMMENT 'Latest occurred_at of the events in the sum',
  round_id BIGINT NOT NULL COMMENT 'Last round of aggregate that changed the sum',
  before_usd DECIMAL(28,9) NOT NULL COMMENT 'Spend before that round, so that it can be repeated',
  before_requests BIGINT NOT NULL COMMENT 'Calls before that round',
  changed_at TIMESTAMP NOT NULL COMMENT 'as_of of the run that changed the sum last'
)
USING DELTA
COMMENT 'Running sums per budget, value and window, from which budget_state is made'
-- databricks: CLUSTER BY (budget_id, scope_value)
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )
