-- title: Ours against the bill
SELECT
  CAST(hour AS DATE) AS day,
  LEFT(endpoint, 80) AS endpoint,
  LEFT(sku, 120) AS sku,
  SUM(our_usd) AS our_usd,
  SUM(billed_usd) AS billed_usd,
  SUM(CASE WHEN billed_usd IS NOT NULL THEN our_usd END) AS our_billed_usd,
  SUM(CASE WHEN billed_usd IS NOT NULL THEN billed_usd - COALESCE(bypass_usd, 0) END)
    AS billed_through_gate_usd,
  SUM(COALESCE(bypass_requests, 0)) AS bypass_requests,
  SUM(COALESCE(bypass_usd, 0)) AS bypass_usd,
  SUM(residual_usd) AS residual_usd,
  SUM(CASE WHEN status = 'drift' THEN 1 ELSE 0 END) AS drifting_hours
FROM reconciliation
WHERE hour >= :period.min AND hour < :period.max + INTERVAL '1' DAY
GROUP BY 1, 2, 3
ORDER BY day DESC, our_usd DESC
LIMIT 5000
