-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  request_id STRING NOT NULL COMMENT 'Key',
  budget_id STRING NOT NULL COMMENT 'The budget whose limit is too low',
  amount_usd DECIMAL(28,9) NOT NULL COMMENT 'What is asked for, in USD',
  reason STRING NOT NULL COMMENT 'Why',
  lasts_seconds INT COMMENT 'How long the raise is asked for; null for good',
  requested_by STRING NOT NULL COMMENT 'Who asked',
  requested_at TIMESTAMP NOT NULL COMMENT 'When',
  status STRING NOT NULL COMMENT 'pending, approved or denied',
  decided_by STRING COMMENT 'Who approved or denied it; null while it is pending',
  decided_at TIMESTAMP COMMENT 'When',
  decision_reason STRING COMMENT 'Why',
  raise_id STRING COMMENT 'The raise that it became',
  expires_at TIMESTAMP COMMENT 'When that raise ends'
  -- databricks: , CONSTRAINT budget_requests_key PRIMARY KEY (request_id) RELY
)
USING DELTA
COMMENT 'Who asked for more budget, and what became of it'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_status_known
ALTER TABLE $target ADD CONSTRAINT status_known
CHECK (status IN ('pending', 'approved', 'denied'))
