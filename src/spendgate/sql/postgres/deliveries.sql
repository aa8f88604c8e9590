-- name: add
-- Rows come as one JSON array of [delivery_id, route, alert, due_at].
INSERT INTO delivery (delivery_id, route, alert, state, attempts, due_at)
SELECT e->>0, e->>1, e->>2, 'waiting', 0, (e->>3)::bigint
FROM json_array_elements(%s::json) AS e
ON CONFLICT (delivery_id) DO NOTHING

-- name: is_due
SELECT 1 FROM delivery WHERE state = 'waiting' AND due_at <= %s LIMIT 1

-- name: due
SELECT delivery_id, route, alert, attempts
FROM delivery
WHERE state = 'waiting' AND due_at <= %s
ORDER BY due_at, delivery_id
LIMIT %s

-- name: claim
-- Until a time nobody else tries these; ids come as one JSON array.
UPDATE delivery
SET due_at = %s, attempts = attempts + 1
WHERE delivery_id IN (SELECT json_array_elements_text(%s::json))

-- name: end
UPDATE delivery
SET state = %s, ended_at = %s, error = %s
WHERE delivery_id = %s

-- name: put_off
UPDATE delivery
SET due_at = %s, error = %s
WHERE delivery_id = %s

-- name: states
SELECT delivery_id, state, attempts, ended_at, error
FROM delivery
WHERE delivery_id IN (SELECT json_array_elements_text(%s::json))

-- name: counts
SELECT state, COUNT(*) FROM delivery WHERE state <> 'sent' GROUP BY state

-- name: dead
SELECT delivery_id, route, attempts, ended_at, error
FROM delivery
WHERE state = 'dead'
ORDER BY ended_at DESC, delivery_id
LIMIT %s

-- name: forget
DELETE FROM delivery WHERE state <> 'waiting' AND ended_at <= %s
