-- title: Alerts about budgets
SELECT
  crossed_at,
  CAST(crossed_at AS DATE) AS day,
  kind,
  LEFT(COALESCE(budget_id, '(none)'), 80) AS budget_id,
  LEFT(COALESCE(scope_value, '(none)'), 80) AS scope_value,
  `window`,
  threshold,
  limit_usd,
  spent_usd,
  used_ratio,
  LEFT(COALESCE(detail, ''), 300) AS detail,
  status,
  sent_at
FROM budget_alerts
WHERE crossed_at >= :period.min AND crossed_at < :period.max + INTERVAL '1' DAY
ORDER BY crossed_at DESC
LIMIT 200
