-- name: add
-- Rows come as one JSON array of [delivery_id, route, alert, due_at].
INSERT INTO delivery (delivery_id, route, alert, state, attempts, due_at)
SELECT
  json_extract(value, '$[0]'),
  json_extract(value, '$[1]'),
  json_extract(value, '$[2]'),
  'waiting',
  0,
  json_extract(value, '$[3]')
FROM json_each(?)
WHERE true
ON CONFLICT (delivery_id) DO NOTHING

-- name: is_due
SELECT 1 FROM delivery WHERE state = 'waiting' AND due_at <= ? LIMIT 1

-- name: due
SELECT delivery_id, route, alert, attempts
FROM delivery
WHERE state = 'waiting' AND due_at <= ?
ORDER BY due_at, delivery_id
LIMIT ?

-- name: claim
-- Until a time nobody else tries these; ids come as one JSON array.
UPDATE delivery
SET due_at = ?, attempts = attempts + 1
WHERE delivery_id IN (SELECT value FROM json_each(?))

-- name: end
UPDATE delivery
SET state = ?, ended_at = ?, error = ?
WHERE delivery_id = ?

-- name: put_off
UPDATE delivery
SET due_at = ?, error = ?
WHERE delivery_id = ?

-- name: states
SELECT delivery_id, state, attempts, ended_at, error
FROM delivery
WHERE delivery_id IN (SELECT value FROM json_each(?))

-- name: counts
SELECT state, COUNT(*) FROM delivery WHERE state <> 'sent' GROUP BY state

-- name: dead
SELECT delivery_id, route, attempts, ended_at, error
FROM delivery
WHERE state = 'dead'
ORDER BY ended_at DESC, delivery_id
LIMIT ?

-- name: forget
DELETE FROM delivery WHERE state <> 'waiting' AND ended_at <= ?
