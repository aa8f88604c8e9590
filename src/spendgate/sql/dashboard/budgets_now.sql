-- title: Budgets in their current window
-- The 200 fullest; a budget that was removed has no current window any more.
SELECT
  CONCAT(LEFT(budget_id, 40), ' · ', LEFT(scope_value, 60)) AS budget,
  LEFT(budget_id, 80) AS budget_id,
  LEFT(scope, 80) AS scope,
  LEFT(scope_value, 80) AS scope_value,
  `window`,
  window_end AS resets_at,
  limit_usd,
  spent_usd,
  held_usd,
  remaining_usd,
  used_ratio,
  status,
  CASE status WHEN 'hard' THEN 1 ELSE 0 END AS is_hard,
  CASE status WHEN 'soft' THEN 1 ELSE 0 END AS is_soft,
  CASE WHEN forecast_usd > limit_usd THEN 1 ELSE 0 END AS is_forecast_over,
  requests,
  burn_usd_per_hour,
  forecast_usd,
  forecast_usd / NULLIF(limit_usd, 0) AS forecast_ratio,
  exhausts_at,
  last_event_at,
  updated_at
FROM budget_state
WHERE window_end IS NULL OR window_end > now()
ORDER BY used_ratio DESC, budget_id, scope_value
LIMIT 200
