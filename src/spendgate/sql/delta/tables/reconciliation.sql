-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  hour TIMESTAMP NOT NULL COMMENT 'Start of the hour, UTC',
  endpoint STRING NOT NULL COMMENT 'Model endpoint',
  sku STRING NOT NULL COMMENT 'SKU of the bill; unknown where the bill has no row yet',
  our_requests BIGINT NOT NULL COMMENT 'Calls that the gate charged',
  our_usd DECIMAL(28,9) NOT NULL COMMENT 'What the gate charged, in USD',
  our_dbu DECIMAL(28,9) COMMENT 'What the gate charged, in DBU',
  billed_dbu DECIMAL(28,9) COMMENT 'What was billed, in DBU; null without a bill yet',
  billed_usd DECIMAL(28,9) COMMENT 'What was billed at its price, in USD',
  platform_requests BIGINT COMMENT 'Calls that the platform\'s usage tables list',
  bypass_requests BIGINT COMMENT 'Calls among them that didn\'t pass the gate',
  bypass_usd DECIMAL(28,9) COMMENT 'What those cost, in USD',
  ratio DOUBLE COMMENT 'Ours by what was billed, less the bypass; null without a bill',
  residual_usd DECIMAL(28,9) COMMENT 'Billed, less ours and the bypass, in USD',
  status STRING NOT NULL COMMENT 'open, agreed, drift or unpriced',
  updated_at TIMESTAMP NOT NULL COMMENT 'as_of of the run that wrote this row'
  -- databricks: , CONSTRAINT reconciliation_key PRIMARY KEY (hour, endpoint, sku) RELY
)
USING DELTA
COMMENT 'Ours against the bill per endpoint, SKU and hour, with what didn\'t pass the gate'
-- databricks: CLUSTER BY (hour)
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_status_known
ALTER TABLE $target ADD CONSTRAINT status_known
CHECK (status IN ('open', 'agreed', 'drift', 'unpriced'))
