-- name: open_batch
SELECT number FROM batch WHERE NOT is_delivered ORDER BY number LIMIT 1

-- name: is_waiting
SELECT EXISTS (SELECT 1 FROM outbox WHERE batch IS NULL)
    OR EXISTS (SELECT 1 FROM decision_outbox WHERE batch IS NULL)

-- name: new_batch
INSERT INTO batch DEFAULT VALUES RETURNING number

-- name: claim_events
UPDATE outbox
SET batch = %s
WHERE seq IN (SELECT seq FROM outbox WHERE batch IS NULL ORDER BY seq LIMIT %s)

-- name: claim_decisions
UPDATE decision_outbox
SET batch = %s
WHERE seq IN (SELECT seq FROM decision_outbox WHERE batch IS NULL ORDER BY seq LIMIT %s)

-- name: batch_events
SELECT event_id, hold_id, kind, delta, reserved, facts, charge, recorded_at
FROM outbox
WHERE batch = %s
ORDER BY seq

-- name: named_events
SELECT event_id, hold_id, kind, delta, reserved, facts, charge, recorded_at
FROM outbox
WHERE event_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))
ORDER BY seq

-- name: batch_decisions
SELECT record FROM decision_outbox WHERE batch = %s ORDER BY seq

-- name: confirm_batch
UPDATE batch SET is_delivered = true WHERE number = %s

-- name: undelivered
-- one part per index: an OR of both would read the whole journal
SELECT COUNT(*), MIN(recorded_at)
FROM (
  SELECT recorded_at FROM outbox WHERE batch IS NULL
  UNION ALL
  SELECT recorded_at FROM outbox WHERE batch IN (SELECT number FROM batch WHERE NOT is_delivered)
) AS waiting

-- name: undelivered_decisions
SELECT COUNT(*), MIN(seq)
FROM (
  SELECT seq FROM decision_outbox WHERE batch IS NULL
  UNION ALL
  SELECT seq FROM decision_outbox WHERE batch IN (SELECT number FROM batch WHERE NOT is_delivered)
) AS waiting

-- name: decision_by_seq
SELECT record FROM decision_outbox WHERE seq = %s

-- name: latest_events
-- by the primary key, so that the length of the journal doesn't matter
SELECT event_id, hold_id, kind, delta, reserved, facts, charge, recorded_at
FROM outbox
ORDER BY seq DESC
LIMIT %s

-- name: latest_decisions
SELECT record FROM decision_outbox ORDER BY seq DESC LIMIT %s
