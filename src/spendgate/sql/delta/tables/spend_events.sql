-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  event_id STRING NOT NULL COMMENT 'Key: hold_id:sequence',
  hold_id STRING NOT NULL
    COMMENT 'The hold that this event ends or corrects: request_id#attempt, or an adjustment\'s id',
  attempt INT NOT NULL COMMENT 'Which try of the request this was, from 1',
  kind STRING NOT NULL COMMENT 'settled, voided, expired, corrected or external',
  occurred_at TIMESTAMP NOT NULL COMMENT 'When the money was reserved; corrections repeat it',
  recorded_at TIMESTAMP NOT NULL COMMENT 'When the ledger wrote this event',
  org_id STRING COMMENT 'Organisation that pays; null if the call named none',
  team_id STRING COMMENT 'Team that pays; null if the call named none',
  agent_id STRING COMMENT 'Agent that pays; null if the call named none',
  user_id STRING COMMENT 'User that pays; null if the call named none',
  session_id STRING COMMENT 'Session that pays; null if the call named none',
  task_id STRING COMMENT 'Task that pays; null if the call named none',
  tags MAP<STRING,STRING> NOT NULL COMMENT 'Free tags of the call',
  model_requested STRING COMMENT 'Model that the caller asked for',
  model STRING NOT NULL COMMENT 'Model that served the call',
  upstream STRING COMMENT 'Model server that was called',
  geo STRING COMMENT 'Geography whose prices apply',
  context_tier STRING COMMENT 'Price tier by prompt length; null if usage is unknown',
  input_tokens BIGINT COMMENT 'Input, cache reads and writes included; null if unknown',
  cache_read_tokens BIGINT COMMENT 'Part of the input that was read from a cache',
  cache_write_tokens BIGINT COMMENT 'Part of the input that was written to a cache',
  output_tokens BIGINT COMMENT 'Output, reasoning included; null if unknown',
  reasoning_tokens BIGINT COMMENT 'Part of the output that was reasoning',
  reserved_usd DECIMAL(18,9) NOT NULL COMMENT 'What was reserved before the call, in USD',
  cost_usd DECIMAL(18,9) NOT NULL
    COMMENT 'What this event adds to spend, in USD; negative if it frees',
  dbu DECIMAL(18,9) COMMENT 'What the call cost in DBU; null if the price isn\'t known in DBU',
  price_version STRING COMMENT 'Version of the price book that was applied',
  usage_source STRING NOT NULL COMMENT 'reported, estimated, reserved or external',
  decision STRING COMMENT 'allow, fit or downgrade',
  budget_ids ARRAY<STRING> NOT NULL COMMENT 'Budgets that this event is charged to',
  latency_ms BIGINT COMMENT 'How long the model took, in milliseconds',
  schema_version INT NOT NULL COMMENT 'Version of this row\'s shape',
  adjustment_id STRING COMMENT 'The adjustment that this event is part of',
  adjusted_by STRING COMMENT 'Who made the adjustment',
  reason STRING COMMENT 'Why the adjustment was made'
  -- databricks: , CONSTRAINT spend_events_key PRIMARY KEY (event_id, occurred_at) RELY
)
USING DELTA
COMMENT 'One row per end or correction of a hold, or spend elsewhere; append-only, no prompts'
-- databricks: CLUSTER BY (occurred_at, org_id)
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_kind_known
ALTER TABLE $target ADD CONSTRAINT kind_known
CHECK (kind IN ('settled', 'voided', 'expired', 'corrected', 'external'))

-- name: check_usage_source_known
ALTER TABLE $target ADD CONSTRAINT usage_source_known
CHECK (usage_source IN ('reported', 'estimated', 'reserved', 'external'))

-- name: check_attempt_from_one
ALTER TABLE $target ADD CONSTRAINT attempt_from_one
CHECK (attempt >= 1)
