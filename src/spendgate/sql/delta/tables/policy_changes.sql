-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  change_id STRING NOT NULL COMMENT 'Key: the ledger and its number of the change',
  changed_at TIMESTAMP NOT NULL COMMENT 'When it was in force',
  changed_by STRING NOT NULL COMMENT 'A user, api:NAME, sql, or the policy file',
  reason STRING NOT NULL COMMENT 'Why; empty if nobody said',
  kind STRING NOT NULL COMMENT 'budget, raise, pause, price, defaults, revocation, request',
  name STRING NOT NULL COMMENT 'The budget, raise, scope or request that was changed',
  before STRING COMMENT 'It as JSON before; null if it is new',
  after STRING COMMENT 'It as JSON after; null if it was removed'
  -- databricks: , CONSTRAINT policy_changes_key PRIMARY KEY (change_id) RELY
)
USING DELTA
COMMENT 'Every change of budgets, raises, pauses, prices and defaults: who, what, why'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )
