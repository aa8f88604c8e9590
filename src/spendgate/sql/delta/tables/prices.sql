-- $target is the table's quoted name. Lines marked `databricks:` count on Databricks alone.

-- name: create
CREATE TABLE IF NOT EXISTS $target (
  model STRING NOT NULL COMMENT 'The model, as calls name it',
  kind STRING COMMENT 'chat or embedding; null for chat',
  geo STRING COMMENT 'Where it is served; null for global',
  context_tier STRING COMMENT 'all, short or long prompts; null for all',
  long_context_over_tokens INT COMMENT 'From where a prompt is long',
  effective_from TIMESTAMP NOT NULL COMMENT 'First instant at which it holds',
  effective_to TIMESTAMP COMMENT 'First instant at which it doesn\'t; null for open',
  token_class STRING NOT NULL COMMENT 'input, cache_read, cache_write, output …',
  usd_per_million DECIMAL(18,9) NOT NULL COMMENT 'USD per million tokens',
  dbu_per_million DECIMAL(18,9) COMMENT 'DBU per million tokens; null if unknown',
  caches_implicitly BOOLEAN COMMENT 'Whether caches are written unasked; null: yes',
  output_tokens_max INT COMMENT 'The most that one answer can have; null if unknown',
  source STRING COMMENT 'Where the rate comes from; null for sql',
  price_version STRING COMMENT 'As in spend_events; sync_policies fills it in'
)
USING DELTA
COMMENT 'Dated rates per model, geo, context tier and token class; append-only'
-- databricks: TBLPROPERTIES (
-- databricks:   'delta.enableRowTracking' = 'true',
-- databricks:   'delta.enableDeletionVectors' = 'true'
-- databricks: )

-- name: check_tier_known
ALTER TABLE $target ADD CONSTRAINT tier_known
CHECK (context_tier IS NULL OR context_tier IN ('all', 'short', 'long'))

-- name: check_kind_known
ALTER TABLE $target ADD CONSTRAINT kind_known
CHECK (kind IS NULL OR kind IN ('chat', 'embedding'))

-- name: check_token_class_known
ALTER TABLE $target ADD CONSTRAINT token_class_known
CHECK (
  token_class IN ('input', 'cache_read', 'cache_write', 'cache_write_1h', 'output', 'reasoning')
)

-- name: check_price_positive
ALTER TABLE $target ADD CONSTRAINT price_positive
CHECK (usd_per_million > 0)
