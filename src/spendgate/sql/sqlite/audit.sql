-- name: balance_differences
WITH charged AS (
  SELECT j.bal_id, SUM(j.spent) AS spent, SUM(j.entries) AS entries
  FROM (
    SELECT CAST(b.value AS INTEGER) AS bal_id, o.delta AS spent, 1 AS entries
    FROM outbox AS o, json_each(o.bals) AS b
    UNION ALL
    SELECT c.bal_id, c.spent, c.entries FROM carried AS c
  ) AS j
  GROUP BY 1
),
waiting AS (
  SELECT CAST(b.value AS INTEGER) AS bal_id, SUM(h.amount) AS held, COUNT(*) AS entries
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
  COALESCE(w.held, 0),
  a.entries,
  COALESCE(c.entries, 0) + COALESCE(w.entries, 0)
FROM balance AS a
LEFT JOIN charged AS c USING (bal_id)
LEFT JOIN waiting AS w USING (bal_id)
WHERE a.spent <> COALESCE(c.spent, 0)
   OR a.held <> COALESCE(w.held, 0)
   OR a.entries <> COALESCE(c.entries, 0) + COALESCE(w.entries, 0)

-- name: orphans
SELECT COUNT(*)
FROM outbox AS o, json_each(o.bals) AS b
WHERE NOT EXISTS (SELECT 1 FROM balance AS a WHERE a.bal_id = CAST(b.value AS INTEGER))

-- name: hold_differences
SELECT
  h.hold_id,
  h.state,
  h.charged,
  h.events,
  h.amount,
  COALESCE(SUM(o.delta), 0),
  COUNT(o.seq),
  COALESCE(MAX(o.reserved), h.amount)
FROM hold AS h
LEFT JOIN outbox AS o USING (hold_id)
GROUP BY h.hold_id
HAVING h.charged <> COALESCE(SUM(o.delta), 0)
    OR h.events <> COUNT(o.seq)
    OR h.amount <> COALESCE(MAX(o.reserved), h.amount)
    OR (h.state = 'held') <> (h.events = 0)
    OR (h.state = 'voided' AND h.charged <> 0)

-- name: strays
SELECT COUNT(*)
FROM outbox AS o
WHERE o.kind <> 'external' AND NOT EXISTS (SELECT 1 FROM hold AS h WHERE h.hold_id = o.hold_id)

-- name: counts
SELECT
  (SELECT COUNT(*) FROM balance),
  (SELECT COUNT(*) FROM outbox) + COALESCE((SELECT entries FROM carried WHERE bal_id = 0), 0),
  (SELECT COUNT(*) FROM hold WHERE state = 'held'),
  COALESCE((SELECT SUM(delta) FROM outbox), 0)
    + COALESCE((SELECT spent FROM carried WHERE bal_id = 0), 0)
