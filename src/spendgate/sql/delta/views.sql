-- Views over the tables; $prefix is the prefix of a name, a table's own name stands for the table.

-- name: spend_daily
CREATE OR REPLACE $temporary VIEW ${prefix}spend_daily (
  day COMMENT 'Day, UTC, in which the money was reserved',
  org_id COMMENT 'Organisation that pays; null if the call named none',
  team_id COMMENT 'Team that pays; null if the call named none',
  agent_id COMMENT 'Agent that pays; null if the call named none',
  user_id COMMENT 'User that pays; null if the call named none',
  model COMMENT 'Model that served the calls',
  requests COMMENT 'Calls that were charged; corrections add none',
  input_tokens COMMENT 'Input where known, cache reads and writes included',
  cache_read_tokens COMMENT 'Part of the input that was read from a cache',
  cache_write_tokens COMMENT 'Part of the input that was written to a cache',
  output_tokens COMMENT 'Output where known, reasoning included',
  reasoning_tokens COMMENT 'Part of the output that was reasoning',
  cost_usd COMMENT 'Spend in USD',
  dbu COMMENT 'Spend in DBU; null if no event knew it'
)
COMMENT 'Spend by day, org, team, agent, user and model'
AS
SELECT
  $day AS day,
  org_id,
  team_id,
  agent_id,
  user_id,
  model,
  SUM(requests) AS requests,
  SUM(input_tokens) AS input_tokens,
  SUM(cache_read_tokens) AS cache_read_tokens,
  SUM(cache_write_tokens) AS cache_write_tokens,
  SUM(output_tokens) AS output_tokens,
  SUM(reasoning_tokens) AS reasoning_tokens,
  CAST(SUM(cost_usd) AS DECIMAL(28,9)) AS cost_usd,
  CAST(SUM(dbu) AS DECIMAL(28,9)) AS dbu
FROM $spend_hourly
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6
