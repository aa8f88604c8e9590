-- name: adjustments
-- {ids} is a list of ?
SELECT adjustment_id, fp, hold_id, amount FROM adjustment WHERE adjustment_id IN ({ids})

-- name: holds
SELECT hold_id, fp, state, amount, charged, bals, facts, events, expires_at
FROM hold
WHERE hold_id IN ({ids})

-- name: keys_by_ids
SELECT bal_id, budget_id, scope_value, period FROM balance WHERE bal_id IN ({ids})

-- name: balances_by_keys
-- {keys} is a list of (?, ?, ?); a cross join keeps the look-ups in the index, one per key
SELECT a.bal_id, a.spent, a.budget_id, a.scope_value, a.period
FROM (VALUES {keys}) AS asked
CROSS JOIN balance AS a
WHERE a.budget_id = asked.column1
  AND a.scope_value = asked.column2
  AND a.period = asked.column3
  AND a.stripe = 0

-- name: insert_balance
INSERT INTO balance (budget_id, scope_value, period, spent, touched_at, entries)
VALUES (?, ?, ?, ?, ?, ?)

-- name: move_balance
UPDATE balance
SET spent = spent + ?, touched_at = max(touched_at, ?), entries = entries + ?
WHERE bal_id = ?

-- name: put_hold
INSERT INTO hold (hold_id, fp, state, amount, charged, bals, facts, events, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hold_id) DO UPDATE SET
  state = excluded.state,
  charged = excluded.charged,
  bals = excluded.bals,
  facts = excluded.facts,
  events = excluded.events

-- name: insert_event
INSERT INTO outbox
  (event_id, hold_id, kind, delta, reserved, facts, charge, recorded_at, batch, bals)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_adjustment
INSERT INTO adjustment (adjustment_id, fp, hold_id, amount) VALUES (?, ?, ?, ?)

-- name: hold_record
SELECT state, amount, charged, facts FROM hold WHERE hold_id = ?

-- name: put_delivered_batch
INSERT INTO batch (number, is_delivered) VALUES (?, 1) ON CONFLICT DO NOTHING
