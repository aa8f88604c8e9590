-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  hour TIMESTAMP NOT NULL COMMENT 'Start of the hour, UTC, in which the money was reserved',
  org_id STRING COMMENT 'Organisation that pays',
  team_id STRING COMMENT 'Team that pays',
  agent_id STRING COMMENT 'Agent that pays',
  user_id STRING COMMENT 'User that pays',
  tags STRING NOT NULL COMMENT 'Free tags of the calls, as JSON with its names in order',
  model STRING NOT NULL COMMENT 'Model that served the calls',
  upstream STRING COMMENT 'Model server that was called',
  geo STRING COMMENT 'Geography whose prices apply',
  context_tier STRING COMMENT 'Price tier by prompt length',
  price_version STRING COMMENT 'Version of the price that was applied',
  charge_class STRING COMMENT 'correction, or null for usage',
  token_kind STRING NOT NULL
    COMMENT 'input, cache_read, cache_write, output, reasoning; none where usage isn\'t known',
  quantity BIGINT COMMENT 'Tokens, or calls where they aren\'t known; null: a correction',
  requests BIGINT NOT NULL COMMENT 'Calls in the group, the same on each of its kinds',
  cost_usd DECIMAL(28,9) NOT NULL
    COMMENT 'What these tokens cost, in USD; the kinds add up exactly',
  dbu DECIMAL(28,9) COMMENT 'The same in DBU; null if the price isn\'t known in DBU',
  list_usd DECIMAL(38,12) COMMENT 'Price of one unit in USD; null if no price is known',
  list_dbu DECIMAL(38,12) COMMENT 'Price of one unit in DBU; null if none is known'
)
USING DELTA
COMMENT 'Spend per hour, payer, model and kind of token; view focus_charges shows it as FOCUS'
-- databricks: CLUSTER BY (hour)
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_token_kind_known
ALTER TABLE $target ADD CONSTRAINT token_kind_known
CHECK (
  token_kind IN ('input', 'cache_read', 'cache_write', 'output', 'reasoning', 'none')
)
