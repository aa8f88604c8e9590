-- name: latest
-- The time as far as traffic confirms it.
SELECT MAX(touched_at) FROM balance

-- name: journal_page
SELECT seq, hold_id, recorded_at FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?

-- name: lock_ended
-- Values come as one JSON array.
SELECT hold_id, charged, events
FROM hold
WHERE hold_id IN (SELECT value FROM json_each(?)) AND state <> 'held'

-- name: entries_of
SELECT
  o.hold_id,
  COUNT(*),
  SUM(o.delta),
  MAX(o.recorded_at),
  SUM(b.number IS NOT NULL)
FROM outbox AS o
LEFT JOIN batch AS b ON b.number = o.batch AND b.is_delivered = 1
WHERE o.event_id IN (SELECT value FROM json_each(?))
GROUP BY o.hold_id

-- name: carry
INSERT INTO carried (bal_id, spent, entries)
SELECT CAST(b.value AS INTEGER), SUM(o.delta), COUNT(*)
FROM outbox AS o, json_each(o.bals) AS b
WHERE o.event_id IN (SELECT value FROM json_each(?))
GROUP BY 1
ON CONFLICT (bal_id) DO UPDATE
SET spent = spent + excluded.spent, entries = entries + excluded.entries

-- name: carry_all
INSERT INTO carried (bal_id, spent, entries)
SELECT 0, SUM(o.delta), COUNT(*)
FROM outbox AS o
WHERE o.event_id IN (SELECT value FROM json_each(?))
GROUP BY 1
ON CONFLICT (bal_id) DO UPDATE
SET spent = spent + excluded.spent, entries = entries + excluded.entries

-- name: remove_adjustments
DELETE FROM adjustment
WHERE adjustment_id IN (
  SELECT o.charge ->> '$.note[0]'
  FROM outbox AS o
  WHERE o.event_id IN (SELECT value FROM json_each(?))
)

-- name: remove_entries
DELETE FROM outbox WHERE event_id IN (SELECT value FROM json_each(?))

-- name: remove_holds
DELETE FROM hold WHERE hold_id IN (SELECT value FROM json_each(?))

-- name: balance_page
-- Every balance, so that a page is soon read; whether one is unused is asked again under its lock.
SELECT
  a.bal_id,
  a.budget_id,
  a.period,
  a.touched_at,
  a.held = 0 AND a.entries = COALESCE(c.entries, 0)
FROM balance AS a
LEFT JOIN carried AS c ON c.bal_id = a.bal_id
WHERE a.bal_id > ?
ORDER BY a.bal_id
LIMIT ?

-- name: lock_unused
SELECT a.bal_id
FROM balance AS a
JOIN carried AS c ON c.bal_id = a.bal_id
WHERE a.bal_id IN (SELECT value FROM json_each(?))
  AND a.held = 0
  AND a.entries = c.entries
  AND a.spent = c.spent

-- name: remove_balances
DELETE FROM balance WHERE bal_id IN (SELECT value FROM json_each(?))

-- name: remove_carried
DELETE FROM carried WHERE bal_id IN (SELECT value FROM json_each(?))

-- name: remove_decisions
DELETE FROM decision_outbox
WHERE seq IN (
  SELECT d.seq
  FROM decision_outbox AS d
  JOIN batch AS b ON b.number = d.batch AND b.is_delivered = 1
  WHERE d.batch IS NOT NULL
  ORDER BY d.batch
  LIMIT ?
)

-- name: remove_batches
-- Those before the first that is still named; the last one stays.
DELETE FROM batch
WHERE number IN (
  SELECT number
  FROM batch
  WHERE is_delivered = 1
    AND number < (SELECT MAX(number) FROM batch)
    AND number < COALESCE((SELECT MIN(batch) FROM outbox WHERE batch IS NOT NULL), number + 1)
    AND number
      < COALESCE((SELECT MIN(batch) FROM decision_outbox WHERE batch IS NOT NULL), number + 1)
  ORDER BY number
  LIMIT ?
)
