-- title: Last refusals
SELECT
  occurred_at,
  CAST(occurred_at AS DATE) AS day,
  LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
  LEFT(COALESCE(team_id, '(none)'), 80) AS team_id,
  LEFT(COALESCE(agent_id, '(none)'), 80) AS agent_id,
  LEFT(COALESCE(user_id, '(none)'), 80) AS user_id,
  LEFT(COALESCE(model_requested, '(none)'), 80) AS model_requested,
  code,
  LEFT(COALESCE(budget_id, '(none)'), 80) AS budget_id,
  limit_usd,
  spent_usd,
  held_usd,
  needed_usd,
  suggested_model
FROM decisions
WHERE decision = 'refuse'
  AND occurred_at >= :period.min
  AND occurred_at < :period.max + INTERVAL '1' DAY
ORDER BY occurred_at DESC
LIMIT 100
