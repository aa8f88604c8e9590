-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  alert_id STRING NOT NULL COMMENT 'Key: the same crossing has the same id',
  kind STRING NOT NULL
    COMMENT 'threshold, soft_cap, hard_stop, overrun, forecast, raised, reconciliation_drift or sink_age',
  budget_id STRING COMMENT 'The budget; null if the alert is about none',
  scope STRING COMMENT 'Dimensions of its scope',
  scope_value STRING COMMENT 'Values of its scope, in the same order',
  `window` STRING COMMENT 'minute … lifetime, or a rolling duration',
  window_start TIMESTAMP COMMENT 'Start of the window, or of a rolling one\'s stretch',
  window_end TIMESTAMP COMMENT 'First instant after it; null for lifetime and rolling',
  threshold DECIMAL(9,6) COMMENT 'The fraction of the limit that was crossed',
  limit_usd DECIMAL(28,9) COMMENT 'Limit then, in USD',
  spent_usd DECIMAL(28,9) COMMENT 'Spend then, in USD',
  used_ratio DOUBLE COMMENT 'Spent as a fraction of the limit',
  forecast_usd DECIMAL(28,9) COMMENT 'Forecast at the window\'s end then, in USD',
  detail STRING COMMENT 'What no figure says, such as a raise\'s reason',
  crossed_at TIMESTAMP NOT NULL COMMENT 'as_of of the run that saw it first',
  routes ARRAY<STRING> COMMENT 'Names of the notifiers that it goes to',
  status STRING NOT NULL COMMENT 'pending, sent, failed or unrouted',
  attempts INT NOT NULL COMMENT 'How often sending was tried',
  sent_at TIMESTAMP COMMENT 'When the last notifier had it',
  last_error STRING COMMENT 'Why the last try failed; names no secret',
  updated_at TIMESTAMP NOT NULL COMMENT 'as_of of the run that changed the row last'
  -- databricks: , CONSTRAINT budget_alerts_key PRIMARY KEY (alert_id) RELY
)
USING DELTA
COMMENT 'One row per alert: a threshold of a window is crossed once'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_status_known
ALTER TABLE $target ADD CONSTRAINT status_known
CHECK (status IN ('pending', 'sent', 'failed', 'unrouted'))
