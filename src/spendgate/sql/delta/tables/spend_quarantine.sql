-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  event_id STRING NOT NULL COMMENT 'The event',
  reason STRING NOT NULL COMMENT 'schema_version, negative_cost or future_clock',
  detail STRING NOT NULL COMMENT 'What is wrong with it, and the way out',
  occurred_at TIMESTAMP NOT NULL COMMENT 'Its occurred_at',
  recorded_at TIMESTAMP NOT NULL COMMENT 'Its recorded_at',
  kind STRING NOT NULL COMMENT 'Its kind',
  cost_usd DECIMAL(18,9) NOT NULL COMMENT 'Its cost, in USD',
  schema_version INT NOT NULL COMMENT 'Its schema version',
  found_at TIMESTAMP NOT NULL COMMENT 'as_of of the run that found it',
  accepted_by STRING COMMENT 'Who says that it shall be counted as it is; edit in SQL',
  released_at TIMESTAMP COMMENT 'as_of of the run that counted it; null while it is not'
  -- databricks: , CONSTRAINT spend_quarantine_key PRIMARY KEY (event_id) RELY
)
USING DELTA
COMMENT 'Events of spend_events that aren\'t counted, and why; a row stays when it is released'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_reason_known
ALTER TABLE $target ADD CONSTRAINT reason_known
CHECK (reason IN ('schema_version', 'negative_cost', 'future_clock'))
