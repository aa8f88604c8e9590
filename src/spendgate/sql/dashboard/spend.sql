-- title: Spend by day
-- The dearest 50 teams, agents and 20 models by name, the rest together.
WITH spend AS (
  SELECT
    CAST(hour AS DATE) AS day,
    LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
    LEFT(COALESCE(team_id, '(none)'), 80) AS team_id,
    LEFT(COALESCE(agent_id, '(none)'), 80) AS agent_id,
    LEFT(model, 80) AS model,
    requests,
    input_tokens,
    cache_read_tokens,
    output_tokens,
    cost_usd,
    dbu
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
top_models AS (
  SELECT model
  FROM spend
  GROUP BY model
  ORDER BY SUM(cost_usd) DESC, model
  LIMIT 20
)
SELECT
  s.day,
  s.org_id,
  COALESCE(t.team_id, '(others)') AS team_id,
  COALESCE(a.agent_id, '(others)') AS agent_id,
  COALESCE(m.model, '(others)') AS model,
  SUM(s.requests) AS requests,
  SUM(s.input_tokens) AS input_tokens,
  SUM(s.cache_read_tokens) AS cache_read_tokens,
  SUM(s.output_tokens) AS output_tokens,
  SUM(s.cost_usd) AS cost_usd,
  SUM(s.dbu) AS dbu
FROM spend AS s
LEFT JOIN top_teams AS t ON t.team_id = s.team_id
LEFT JOIN top_agents AS a ON a.agent_id = s.agent_id
LEFT JOIN top_models AS m ON m.model = s.model
GROUP BY 1, 2, 3, 4, 5
ORDER BY cost_usd DESC
LIMIT 20000
