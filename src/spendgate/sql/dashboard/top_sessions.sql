-- title: Dearest sessions and tasks
-- The 100 dearest of the period, however many there are.
SELECT
  LEFT(COALESCE(session_id, '(none)'), 80) AS session_id,
  LEFT(COALESCE(task_id, '(none)'), 80) AS task_id,
  LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
  LEFT(COALESCE(team_id, '(none)'), 80) AS team_id,
  LEFT(COALESCE(agent_id, '(none)'), 80) AS agent_id,
  CAST(MAX(occurred_at) AS DATE) AS day,
  MAX(occurred_at) AS last_call_at,
  SUM(CASE WHEN kind IN ('settled', 'expired') THEN 1 ELSE 0 END) AS requests,
  SUM(cost_usd) AS cost_usd
FROM spend_events
WHERE occurred_at >= :period.min
  AND occurred_at < :period.max + INTERVAL '1' DAY
  AND (session_id IS NOT NULL OR task_id IS NOT NULL)
GROUP BY 1, 2, 3, 4, 5
ORDER BY cost_usd DESC
LIMIT 100
