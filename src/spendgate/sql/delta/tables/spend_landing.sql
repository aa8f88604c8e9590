-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.
-- No key: a stream may repeat a row, and the drain job takes each event once.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  event_id STRING NOT NULL COMMENT 'Key of the event: hold_id:sequence',
  occurred_at TIMESTAMP NOT NULL COMMENT 'When the money was reserved',
  recorded_at TIMESTAMP NOT NULL COMMENT 'When the ledger wrote the event',
  body STRING NOT NULL COMMENT 'The event\'s row of spend_events, as JSON'
)
USING DELTA
COMMENT 'Events as hosts stream them, seconds old; rows may repeat, and the drain job has all'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.autoOptimize.autoCompact' = 'true'
-- databricks: )
