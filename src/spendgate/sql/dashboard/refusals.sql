-- title: Refusals by day
WITH decided AS (
  SELECT
    CAST(occurred_at AS DATE) AS day,
    LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
    LEFT(COALESCE(team_id, '(none)'), 80) AS team_id,
    LEFT(COALESCE(agent_id, '(none)'), 80) AS agent_id,
    LEFT(COALESCE(budget_id, '(none)'), 80) AS budget_id,
    COALESCE(code, '(none)') AS reason,
    needed_usd
  FROM decisions
  WHERE decision = 'refuse'
    AND occurred_at >= :period.min
    AND occurred_at < :period.max + INTERVAL '1' DAY
),
top_agents AS (
  SELECT agent_id
  FROM decided
  GROUP BY agent_id
  ORDER BY COUNT(*) DESC, agent_id
  LIMIT 50
),
top_budgets AS (
  SELECT budget_id
  FROM decided
  GROUP BY budget_id
  ORDER BY COUNT(*) DESC, budget_id
  LIMIT 50
)
SELECT
  d.day,
  d.org_id,
  d.team_id,
  COALESCE(a.agent_id, '(others)') AS agent_id,
  COALESCE(b.budget_id, '(others)') AS budget_id,
  d.reason,
  COUNT(*) AS refusals,
  SUM(CASE WHEN d.day = CURRENT_DATE THEN 1 ELSE 0 END) AS refusals_today,
  SUM(d.needed_usd) AS refused_usd
FROM decided AS d
LEFT JOIN top_agents AS a ON a.agent_id = d.agent_id
LEFT JOIN top_budgets AS b ON b.budget_id = d.budget_id
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY refusals DESC
LIMIT 20000
