-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  hour TIMESTAMP NOT NULL COMMENT 'Start of the hour, UTC, in which the money was reserved',
  org_id STRING COMMENT 'Organisation that pays; null if the call named none',
  team_id STRING COMMENT 'Team that pays; null if the call named none',
  agent_id STRING COMMENT 'Agent that pays; null if the call named none',
  user_id STRING COMMENT 'User that pays; null if the call named none',
  model STRING NOT NULL COMMENT 'Model that served the calls',
  requests BIGINT NOT NULL COMMENT 'Calls that were charged; corrections add none',
  input_tokens BIGINT NOT NULL COMMENT 'Input where known, cache reads and writes included',
  cache_read_tokens BIGINT NOT NULL COMMENT 'Part of the input that was read from a cache',
  cache_write_tokens BIGINT NOT NULL COMMENT 'Part of the input that was written to a cache',
  output_tokens BIGINT NOT NULL COMMENT 'Output where known, reasoning included',
  reasoning_tokens BIGINT NOT NULL COMMENT 'Part of the output that was reasoning',
  cost_usd DECIMAL(28,9) NOT NULL COMMENT 'Spend in USD',
  dbu DECIMAL(28,9) COMMENT 'Spend in DBU; null if no event knew it'
)
USING DELTA
COMMENT 'Spend by hour, org, team, agent, user and model; made again from spend_events'
-- databricks: CLUSTER BY (hour, org_id)
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )
