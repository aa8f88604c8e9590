-- name: spend_by_model
SELECT model, COUNT(*) AS calls, SUM(cost_usd) AS cost_usd
FROM spend_events
GROUP BY model
ORDER BY cost_usd DESC

-- name: full_budgets
SELECT budget_id, scope_value, limit_usd, spent_usd, status
FROM budget_state
WHERE status <> 'ok'
ORDER BY used_ratio DESC, budget_id, scope_value
LIMIT 8

-- name: refusals_by_reason
SELECT code, budget_id, COUNT(*) AS refusals
FROM decisions
WHERE decision = 'refuse'
GROUP BY code, budget_id
ORDER BY refusals DESC

-- name: spend_by_team
SELECT hour, team_id, SUM(requests) AS calls, SUM(cost_usd) AS cost_usd
FROM spend_hourly
GROUP BY hour, team_id
ORDER BY cost_usd DESC

-- name: downgrades
SELECT agent_id, model_requested, model, COUNT(*) AS calls
FROM spend_events
WHERE decision = 'downgrade'
GROUP BY agent_id, model_requested, model
ORDER BY agent_id, model
