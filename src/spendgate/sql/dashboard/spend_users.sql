-- title: Spend by user
-- The dearest 50 users by name, the rest together.
WITH spend AS (
  SELECT
    CAST(hour AS DATE) AS day,
    LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
    LEFT(COALESCE(team_id, '(none)'), 80) AS team_id,
    LEFT(COALESCE(agent_id, '(none)'), 80) AS agent_id,
    LEFT(COALESCE(user_id, '(none)'), 80) AS user_id,
    requests,
    cost_usd
  FROM spend_hourly
  WHERE hour >= :period.min AND hour < :period.max + INTERVAL '1' DAY
),
top_teams AS (
  SELECT team_id
  FROM spend
  GROUP BY team_id
  ORDER BY SUM(cost_usd) DESC, team_id
  LIMIT 50
),
top_agents AS (
  SELECT agent_id
  FROM spend
  GROUP BY agent_id
  ORDER BY SUM(cost_usd) DESC, agent_id
  LIMIT 50
),
top_users AS (
  SELECT user_id
  FROM spend
  GROUP BY user_id
  ORDER BY SUM(cost_usd) DESC, user_id
  LIMIT 50
)
SELECT
  s.day,
  s.org_id,
  COALESCE(t.team_id, '(others)') AS team_id,
  COALESCE(a.agent_id, '(others)') AS agent_id,
  COALESCE(u.user_id, '(others)') AS user_id,
  SUM(s.requests) AS requests,
  SUM(s.cost_usd) AS cost_usd
FROM spend AS s
LEFT JOIN top_teams AS t ON t.team_id = s.team_id
LEFT JOIN top_agents AS a ON a.agent_id = s.agent_id
LEFT JOIN top_users AS u ON u.user_id = s.user_id
GROUP BY 1, 2, 3, 4, 5
ORDER BY cost_usd DESC
LIMIT 20000
