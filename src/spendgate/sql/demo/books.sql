-- name: events
SELECT
  event_id,
  hold_id,
  kind,
  occurred_at,
  cost_usd,
  budget_ids,
  tags,
  org_id,
  team_id,
  agent_id,
  user_id,
  session_id,
  task_id
FROM spend_events

-- name: hourly_total
SELECT COALESCE(SUM(cost_usd), 0) AS total FROM spend_hourly

-- name: states
SELECT budget_id, scope_value, "window", window_start, spent_usd FROM budget_state

-- name: refusals
SELECT decision_id, code FROM decisions WHERE decision = 'refuse'
