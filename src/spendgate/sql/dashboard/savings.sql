-- title: Downgraded calls
-- What the asked-for model would have cost is estimated from what its own calls cost per token in
-- the period; null if it served none, because unknown is not zero.
WITH calls AS (
  SELECT
    CAST(occurred_at AS DATE) AS day,
    LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
    LEFT(COALESCE(team_id, '(none)'), 80) AS team_id,
    LEFT(COALESCE(agent_id, '(none)'), 80) AS agent_id,
    LEFT(COALESCE(model_requested, model), 80) AS model_requested,
    LEFT(model, 80) AS model,
    decision,
    COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0) AS tokens,
    cost_usd
  FROM spend_events
  WHERE kind = 'settled'
    AND occurred_at >= :period.min
    AND occurred_at < :period.max + INTERVAL '1' DAY
),
mean_prices AS (
  SELECT
    model,
    SUM(cost_usd) / NULLIF(SUM(tokens), 0) AS usd_per_token
  FROM calls
  WHERE tokens > 0
  GROUP BY model
)
SELECT
  c.day,
  c.org_id,
  c.team_id,
  c.agent_id,
  c.model_requested,
  c.model,
  COUNT(*) AS calls,
  SUM(c.cost_usd) AS cost_usd,
  CAST(
    SUM(CAST(c.tokens AS DOUBLE) * CAST(p.usd_per_token AS DOUBLE) - CAST(c.cost_usd AS DOUBLE))
    AS DECIMAL(28, 9)
  ) AS saved_usd
FROM calls AS c
LEFT JOIN mean_prices AS p ON p.model = c.model_requested
WHERE c.decision = 'downgrade'
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY cost_usd DESC
LIMIT 5000
