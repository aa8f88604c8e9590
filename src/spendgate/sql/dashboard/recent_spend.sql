-- title: Spend of the last 48 hours
-- The dearest 30 teams and agents by name, the rest together, so that any number of them draws.
WITH spend AS (
  SELECT
    hour,
    CAST(hour AS DATE) AS day,
    LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
    LEFT(COALESCE(team_id, '(none)'), 80) AS team_id,
    LEFT(COALESCE(agent_id, '(none)'), 80) AS agent_id,
    requests,
    cost_usd
  FROM spend_hourly
  WHERE hour >= now() - INTERVAL '48' HOUR
),
top_teams AS (
  SELECT team_id
  FROM spend
  GROUP BY team_id
  ORDER BY SUM(cost_usd) DESC, team_id
  LIMIT 30
),
top_agents AS (
  SELECT agent_id
  FROM spend
  GROUP BY agent_id
  ORDER BY SUM(cost_usd) DESC, agent_id
  LIMIT 30
)
SELECT
  s.hour,
  s.day,
  s.org_id,
  COALESCE(t.team_id, '(others)') AS team_id,
  COALESCE(a.agent_id, '(others)') AS agent_id,
  SUM(s.requests) AS requests,
  SUM(s.cost_usd) AS cost_usd,
  SUM(CASE WHEN s.day = CURRENT_DATE THEN s.cost_usd ELSE 0 END) AS cost_today_usd,
  SUM(CASE WHEN s.day = CURRENT_DATE THEN s.requests ELSE 0 END) AS requests_today,
  SUM(CASE WHEN s.hour >= now() - INTERVAL '24' HOUR THEN s.cost_usd ELSE 0 END) / 24
    AS burn_usd_per_hour
FROM spend AS s
LEFT JOIN top_teams AS t ON t.team_id = s.team_id
LEFT JOIN top_agents AS a ON a.agent_id = s.agent_id
GROUP BY 1, 2, 3, 4, 5
ORDER BY cost_usd DESC
LIMIT 20000
