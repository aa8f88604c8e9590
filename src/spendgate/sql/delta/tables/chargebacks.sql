-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  period_start TIMESTAMP NOT NULL COMMENT 'First instant of the period',
  period_end TIMESTAMP NOT NULL COMMENT 'First instant after it',
  version INT NOT NULL COMMENT '1, and one more for each time that the period was restated',
  idempotency_key STRING NOT NULL COMMENT 'Names period and version to who is billed',
  digest STRING NOT NULL COMMENT 'Of all charges, to see whether they have changed',
  charges BIGINT NOT NULL COMMENT 'How many rows the period has',
  total_usd DECIMAL(28,9) NOT NULL COMMENT 'What the period came to, in USD',
  reason STRING COMMENT 'Why it was restated; null for the first version',
  status STRING NOT NULL COMMENT 'pending, sent or unrouted',
  made_at TIMESTAMP NOT NULL COMMENT 'as_of of the run that made this version',
  sent_at TIMESTAMP COMMENT 'When every notifier had it'
  -- databricks: , CONSTRAINT chargebacks_key PRIMARY KEY (period_start, period_end, version) RELY
)
USING DELTA
COMMENT 'One row per version of a billed period: what it came to, and who was told'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_status_known
ALTER TABLE $target ADD CONSTRAINT status_known
CHECK (status IN ('pending', 'sent', 'unrouted'))
