-- name: balance_differences
WITH charged AS (
  SELECT CAST(b.value AS INTEGER) AS bal_id, SUM(o.delta) AS spent
  FROM outbox AS o, json_each(o.bals) AS b
  GROUP BY 1
),
waiting AS (
  SELECT CAST(b.value AS INTEGER) AS bal_id, SUM(h.amount) AS held
  FROM hold AS h, json_each(h.bals) AS b
  WHERE h.state = 'held'
  GROUP BY 1
)
SELECT
  a.budget_id,
  a.scope_value,
  a.period,
  a.spent,
  COALESCE(c.spent, 0),
  a.held,
  COALESCE(w.held, 0)
FROM balance AS a
LEFT JOIN charged AS c USING (bal_id)
LEFT JOIN waiting AS w USING (bal_id)
WHERE a.spent <> COALESCE(c.spent, 0) OR a.held <> COALESCE(w.held, 0)

-- name: orphans
SELECT COUNT(*)
FROM outbox AS o, json_each(o.bals) AS b
WHERE NOT EXISTS (SELECT 1 FROM balance AS a WHERE a.bal_id = CAST(b.value AS INTEGER))

-- name: hold_differences
SELECT h.hold_id, h.charged, COALESCE(SUM(o.delta), 0)
FROM hold AS h
LEFT JOIN outbox AS o USING (hold_id)
GROUP BY h.hold_id
HAVING h.charged <> COALESCE(SUM(o.delta), 0)

-- name: counts
SELECT
  (SELECT COUNT(*) FROM balance),
  (SELECT COUNT(*) FROM outbox),
  (SELECT COUNT(*) FROM hold WHERE state = 'held'),
  (SELECT COALESCE(SUM(delta), 0) FROM outbox)
