-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  decision_id STRING NOT NULL COMMENT 'Key',
  occurred_at TIMESTAMP NOT NULL COMMENT 'When it was decided',
  org_id STRING COMMENT 'Organisation that pays; null if the call named none',
  team_id STRING COMMENT 'Team that pays; null if the call named none',
  agent_id STRING COMMENT 'Agent that pays; null if the call named none',
  user_id STRING COMMENT 'User that pays; null if the call named none',
  session_id STRING COMMENT 'Session that pays; null if the call named none',
  task_id STRING COMMENT 'Task that pays; null if the call named none',
  model_requested STRING COMMENT 'Model that the caller asked for',
  decision STRING NOT NULL COMMENT 'What was decided, such as refuse or downgrade',
  code STRING COMMENT 'Why, as in error.code; null if nothing was refused',
  budget_id STRING COMMENT 'The budget that decided',
  limit_usd DECIMAL(28,9) COMMENT 'Its limit then, in USD',
  spent_usd DECIMAL(28,9) COMMENT 'What was spent of it then, in USD',
  held_usd DECIMAL(28,9) COMMENT 'What calls in flight held of it then, in USD',
  needed_usd DECIMAL(28,9) COMMENT 'What the call would have had to reserve, in USD',
  suggested_model STRING COMMENT 'A model that would have fitted'
  -- databricks: , CONSTRAINT decisions_key PRIMARY KEY (decision_id) RELY
)
USING DELTA
COMMENT 'One row per refusal or downgrade, and per refusal a shadow budget would have made'
-- databricks: CLUSTER BY (occurred_at)
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )
