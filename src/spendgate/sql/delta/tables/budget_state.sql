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
  limit_usd DECIMAL(28,9) NOT NULL COMMENT 'Limit in USD, with raises and what is carried',
  spent_usd DECIMAL(28,9) NOT NULL COMMENT 'Spend in USD',
  held_usd DECIMAL(28,9) COMMENT 'Held by calls in flight; null if the ledger wasn\'t asked',
  remaining_usd DECIMAL(28,9) NOT NULL COMMENT 'Limit times hard cap, less spent and held, in USD',
  used_ratio DOUBLE NOT NULL COMMENT 'Spent as a fraction of the limit',
  status STRING NOT NULL COMMENT 'ok, soft or hard: which cap the spend has reached',
  requests BIGINT NOT NULL COMMENT 'Calls that were charged',
  burn_usd_per_hour DECIMAL(28,9) COMMENT 'Spend per hour, recent hours counting more',
  forecast_usd DECIMAL(28,9) COMMENT 'Spend expected at the window\'s end; null if endless',
  forecast_low_usd DECIMAL(28,9) COMMENT 'Lower edge of the forecast\'s band',
  forecast_high_usd DECIMAL(28,9) COMMENT 'Upper edge of the forecast\'s band',
  exhausts_at TIMESTAMP COMMENT 'When forecast or spend reaches the hard cap',
  last_event_at TIMESTAMP COMMENT 'Latest occurred_at of the events in the sum',
  updated_at TIMESTAMP NOT NULL COMMENT 'as_of of the run that made this row last'
)
USING DELTA
COMMENT 'Each budget, value and window: limit, spend, status, burn rate and forecast'
-- databricks: CLUSTER BY (budget_id, scope_value)
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_status_known
ALTER TABLE $target ADD CONSTRAINT status_known
CHECK (status IN ('ok', 'soft', 'hard'))
