-- name: adjustments
SELECT adjustment_id, fp, hold_id, amount FROM adjustment WHERE adjustment_id = ANY(%s::text[])

-- name: lock_holds
SELECT hold_id, fp, state, amount, charged, bals, facts, events, expires_at
FROM hold
WHERE hold_id = ANY(%s::text[])
ORDER BY hold_id
FOR UPDATE

-- name: keys_by_ids
SELECT bal_id, budget_id, scope_value, period FROM balance WHERE bal_id = ANY(%s::bigint[])

-- name: insert_balance
INSERT INTO balance (bal_id, budget_id, scope_value, period, spent, touched_at, entries)
VALUES (nextval('balance_id'), %s, %s, %s, %s, %s, %s)
RETURNING bal_id

-- name: move_balance
UPDATE balance
SET spent = spent + %s, touched_at = GREATEST(touched_at, %s), entries = entries + %s
WHERE bal_id = %s

-- name: put_hold
INSERT INTO hold (hold_id, fp, state, amount, charged, bals, facts, events, expires_at, origin)
VALUES (%s, %s, %s, %s, %s, %s::bigint[], %s, %s, %s, 'adjustment')
ON CONFLICT (hold_id) DO UPDATE SET
  state = excluded.state,
  charged = excluded.charged,
  bals = excluded.bals,
  facts = excluded.facts,
  events = excluded.events

-- name: insert_event
INSERT INTO outbox (event_id, hold_id, kind, delta, reserved, facts, charge, recorded_at, batch, bals)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::bigint[])

-- name: insert_adjustment
INSERT INTO adjustment (adjustment_id, fp, hold_id, amount) VALUES (%s, %s, %s, %s)

-- name: hold_record
SELECT state, amount, charged, facts FROM hold WHERE hold_id = %s

-- name: put_delivered_batch
INSERT INTO batch (number, is_delivered) OVERRIDING SYSTEM VALUE VALUES (%s, true)
ON CONFLICT DO NOTHING
