-- title: Budgets, window by window
-- The 12 budgets that spent most in the period, so that the lines can be told apart.
WITH state AS (
  SELECT
    CONCAT(LEFT(budget_id, 40), ' · ', LEFT(scope_value, 60)) AS budget,
    LEFT(budget_id, 80) AS budget_id,
    `window`,
    window_start,
    CAST(window_start AS DATE) AS day,
    limit_usd,
    spent_usd,
    used_ratio
  FROM budget_state
  WHERE window_start >= :period.min AND window_start < :period.max + INTERVAL '1' DAY
),
top_budgets AS (
  SELECT budget
  FROM state
  GROUP BY budget
  ORDER BY SUM(spent_usd) DESC, budget
  LIMIT 12
)
SELECT
  s.budget,
  s.budget_id,
  s.window,
  s.window_start,
  s.day,
  s.limit_usd,
  s.spent_usd,
  s.used_ratio
FROM state AS s
INNER JOIN top_budgets AS t ON t.budget = s.budget
ORDER BY s.window_start DESC, s.budget
LIMIT 5000
