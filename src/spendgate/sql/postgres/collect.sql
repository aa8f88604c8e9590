-- name: latest
-- The time as far as traffic confirms it.
SELECT MAX(touched_at) FROM balance

-- name: journal_page
SELECT seq, hold_id, recorded_at FROM outbox WHERE seq > %s ORDER BY seq LIMIT %s

-- name: lock_ended
-- Values come as one JSON array. A hold that somebody is correcting right now is left for next time.
SELECT hold_id, charged, events
FROM hold
WHERE hold_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json))) AND state <> 'held'
ORDER BY hold_id
FOR UPDATE SKIP LOCKED

-- name: entries_of
SELECT
  o.hold_id,
  COUNT(*),
  SUM(o.delta)::bigint,
  MAX(o.recorded_at),
  COUNT(b.number)
FROM outbox AS o
LEFT JOIN batch AS b ON b.number = o.batch AND b.is_delivered
WHERE o.event_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))
GROUP BY o.hold_id

-- name: carry
INSERT INTO carried AS c (bal_id, spent, entries)
SELECT b.bal_id, SUM(o.delta), COUNT(*)
FROM outbox AS o
CROSS JOIN unnest(o.bals) AS b (bal_id)
WHERE o.event_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))
GROUP BY b.bal_id
ON CONFLICT (bal_id) DO UPDATE
SET spent = c.spent + excluded.spent, entries = c.entries + excluded.entries

-- name: carry_all
INSERT INTO carried AS c (bal_id, spent, entries)
SELECT 0, SUM(o.delta), COUNT(*)
FROM outbox AS o
WHERE o.event_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))
HAVING COUNT(*) > 0
ON CONFLICT (bal_id) DO UPDATE
SET spent = c.spent + excluded.spent, entries = c.entries + excluded.entries

-- name: remove_adjustments
DELETE FROM adjustment
WHERE adjustment_id = ANY(ARRAY(
  SELECT o.charge::json -> 'note' ->> 0
  FROM outbox AS o
  WHERE o.event_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))
))

-- name: remove_entries
DELETE FROM outbox WHERE event_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))

-- name: remove_holds
DELETE FROM hold WHERE hold_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))

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
WHERE a.bal_id > %s
ORDER BY a.bal_id
LIMIT %s

-- name: lock_unused
-- A balance that is in use right now isn't waited for: it is no longer unused.
SELECT a.bal_id
FROM balance AS a
JOIN carried AS c ON c.bal_id = a.bal_id
WHERE a.bal_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::bigint))
  AND a.held = 0
  AND a.entries = c.entries
  AND a.spent = c.spent
ORDER BY a.bal_id
FOR UPDATE OF a SKIP LOCKED

-- name: remove_balances
DELETE FROM balance WHERE bal_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::bigint))

-- name: remove_carried
DELETE FROM carried WHERE bal_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)::bigint))

-- name: remove_decisions
DELETE FROM decision_outbox
WHERE seq = ANY(ARRAY(
  SELECT d.seq
  FROM decision_outbox AS d
  JOIN batch AS b ON b.number = d.batch AND b.is_delivered
  WHERE d.batch IS NOT NULL
  ORDER BY d.batch
  LIMIT %s
))

-- name: remove_batches
-- Those before the first that is still named; the last one stays.
DELETE FROM batch
WHERE number = ANY(ARRAY(
  SELECT number
  FROM batch
  WHERE is_delivered
    AND number < (SELECT MAX(number) FROM batch)
    AND number < COALESCE((SELECT MIN(batch) FROM outbox WHERE batch IS NOT NULL), number + 1)
    AND number
      < COALESCE((SELECT MIN(batch) FROM decision_outbox WHERE batch IS NOT NULL), number + 1)
  ORDER BY number
  LIMIT %s
))
