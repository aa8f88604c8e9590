-- title: How calls ended
-- An expired hold is charged in full because nobody knows how its call ended.
SELECT
  CAST(occurred_at AS DATE) AS day,
  LEFT(COALESCE(org_id, '(none)'), 80) AS org_id,
  kind,
  usage_source,
  COUNT(*) AS events,
  SUM(CASE WHEN kind = 'expired' THEN 1 ELSE 0 END) AS expired,
  SUM(CASE WHEN kind IN ('settled', 'expired') THEN 1 ELSE 0 END) AS charged,
  SUM(CASE WHEN usage_source = 'reported' AND kind = 'settled' THEN 1 ELSE 0 END) AS reported,
  SUM(CASE WHEN kind = 'external' THEN cost_usd ELSE 0 END) AS external_usd,
  SUM(CASE WHEN kind = 'corrected' THEN cost_usd ELSE 0 END) AS corrected_usd,
  SUM(cost_usd) AS cost_usd
FROM spend_events
WHERE occurred_at >= :period.min AND occurred_at < :period.max + INTERVAL '1' DAY
GROUP BY 1, 2, 3, 4
ORDER BY day DESC, events DESC
LIMIT 5000
