-- SQL functions over budget_state: what a query, a policy or a notebook asks of a budget.
-- scope names dimensions as budget_state does (agent; org,team), value gives theirs (triage-bot;
-- acme,support). Of several budgets the tightest answers. $prefix is the schema, $temporary says
-- TEMPORARY where there is no schema to keep them.

-- name: budget_remaining
CREATE OR REPLACE $temporary FUNCTION ${prefix}budget_remaining(
  scope STRING COMMENT 'Dimensions, such as agent or org,team',
  value STRING COMMENT 'Their values, in the same order'
)
RETURNS DECIMAL(28,9)
COMMENT 'USD that the tightest budget of a scope still has; null if no budget covers it'
RETURN (
  SELECT
    MIN(state.remaining_usd)
  FROM $budget_state AS state
  WHERE state.scope = budget_remaining.scope
    AND state.scope_value = budget_remaining.value
    AND (state.window_start IS NULL OR state.window_start <= CURRENT_TIMESTAMP())
    AND (state.window_end IS NULL OR state.window_end > CURRENT_TIMESTAMP())
)

-- name: budget_status
CREATE OR REPLACE $temporary FUNCTION ${prefix}budget_status(
  scope STRING COMMENT 'Dimensions, such as agent or org,team',
  value STRING COMMENT 'Their values, in the same order'
)
RETURNS STRING
COMMENT 'ok, soft or hard: how far the tightest budget of a scope is spent; null if none covers it'
RETURN (
  SELECT
    CASE MAX(CASE state.status WHEN 'hard' THEN 3 WHEN 'soft' THEN 2 ELSE 1 END)
      WHEN 3 THEN 'hard'
      WHEN 2 THEN 'soft'
      WHEN 1 THEN 'ok'
    END
  FROM $budget_state AS state
  WHERE state.scope = budget_status.scope
    AND state.scope_value = budget_status.value
    AND (state.window_start IS NULL OR state.window_start <= CURRENT_TIMESTAMP())
    AND (state.window_end IS NULL OR state.window_end > CURRENT_TIMESTAMP())
)
