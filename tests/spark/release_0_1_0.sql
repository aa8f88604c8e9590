-- The tables as release 0.1.0 made them (the first with tables), for tests: never edited, only
-- joined by those of later releases.

-- name: spend_events
CREATE TABLE $target (
  event_id STRING NOT NULL,
  hold_id STRING NOT NULL,
  attempt INT NOT NULL,
  kind STRING NOT NULL,
  occurred_at TIMESTAMP NOT NULL,
  recorded_at TIMESTAMP NOT NULL,
  org_id STRING,
  team_id STRING,
  agent_id STRING,
  user_id STRING,
  session_id STRING,
  task_id STRING,
  tags MAP<STRING,STRING> NOT NULL,
  model_requested STRING,
  model STRING NOT NULL,
  upstream STRING,
  geo STRING,
  context_tier STRING,
  input_tokens BIGINT,
  cache_read_tokens BIGINT,
  cache_write_tokens BIGINT,
  output_tokens BIGINT,
  reasoning_tokens BIGINT,
  reserved_usd DECIMAL(18,9) NOT NULL,
  cost_usd DECIMAL(18,9) NOT NULL,
  dbu DECIMAL(18,9),
  price_version STRING,
  usage_source STRING NOT NULL,
  decision STRING,
  budget_ids ARRAY<STRING> NOT NULL,
  latency_ms BIGINT,
  schema_version INT NOT NULL
) USING DELTA

-- name: decisions
CREATE TABLE $target (
  decision_id STRING NOT NULL,
  occurred_at TIMESTAMP NOT NULL,
  org_id STRING,
  team_id STRING,
  agent_id STRING,
  user_id STRING,
  session_id STRING,
  task_id STRING,
  model_requested STRING,
  decision STRING NOT NULL,
  code STRING,
  budget_id STRING,
  limit_usd DECIMAL(28,9),
  spent_usd DECIMAL(28,9),
  held_usd DECIMAL(28,9),
  needed_usd DECIMAL(28,9),
  suggested_model STRING
) USING DELTA

-- name: spend_hourly
CREATE TABLE $target (
  hour TIMESTAMP NOT NULL,
  org_id STRING,
  team_id STRING,
  agent_id STRING,
  user_id STRING,
  model STRING NOT NULL,
  requests BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  cache_read_tokens BIGINT NOT NULL,
  cache_write_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  reasoning_tokens BIGINT NOT NULL,
  cost_usd DECIMAL(28,9) NOT NULL,
  dbu DECIMAL(28,9)
) USING DELTA

-- name: window_spend
CREATE TABLE $target (
  budget_id STRING NOT NULL,
  scope STRING NOT NULL,
  scope_value STRING NOT NULL,
  `window` STRING NOT NULL,
  window_start TIMESTAMP,
  window_end TIMESTAMP,
  spent_usd DECIMAL(28,9) NOT NULL,
  requests BIGINT NOT NULL,
  last_event_at TIMESTAMP NOT NULL,
  batch_id BIGINT NOT NULL,
  changed_at TIMESTAMP NOT NULL
) USING DELTA

-- name: budget_state
CREATE TABLE $target (
  budget_id STRING NOT NULL,
  scope STRING NOT NULL,
  scope_value STRING NOT NULL,
  `window` STRING NOT NULL,
  window_start TIMESTAMP,
  window_end TIMESTAMP,
  limit_usd DECIMAL(28,9) NOT NULL,
  spent_usd DECIMAL(28,9) NOT NULL,
  held_usd DECIMAL(28,9),
  remaining_usd DECIMAL(28,9) NOT NULL,
  used_ratio DOUBLE NOT NULL,
  status STRING NOT NULL,
  requests BIGINT NOT NULL,
  burn_usd_per_hour DECIMAL(28,9),
  forecast_usd DECIMAL(28,9),
  exhausts_at TIMESTAMP,
  last_event_at TIMESTAMP,
  updated_at TIMESTAMP NOT NULL
) USING DELTA
