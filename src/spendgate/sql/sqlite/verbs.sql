-- name: policy_version
SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'policy_version'

-- name: hold_by_id
SELECT fp, state, amount, charged, bals, facts, events FROM hold WHERE hold_id = ?

-- name: balance_by_key
SELECT bal_id, spent, held
FROM balance
WHERE budget_id = ? AND scope_value = ? AND period = ? AND stripe = 0

-- name: insert_balance
INSERT INTO balance (budget_id, scope_value, period, held, touched_at) VALUES (?, ?, ?, ?, ?)

-- name: hold_on_balance
UPDATE balance SET held = held + ?, touched_at = ? WHERE bal_id = ?

-- name: insert_hold
INSERT INTO hold (hold_id, fp, state, amount, bals, facts, expires_at)
VALUES (?, ?, 'held', ?, ?, ?, ?)

-- name: end_hold
UPDATE hold SET state = ?, charged = ?, events = ? WHERE hold_id = ?

-- name: move_balance
UPDATE balance SET spent = spent + ?, held = held + ?, touched_at = ? WHERE bal_id = ?

-- name: insert_event
INSERT INTO outbox
  (event_id, hold_id, kind, delta, reserved, bals, facts, charge, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: due_holds
SELECT hold_id FROM hold WHERE state = 'held' AND expires_at <= ? ORDER BY expires_at LIMIT ?

-- name: insert_decision
INSERT INTO decision_outbox (record) VALUES (?)

-- name: all_balances
SELECT budget_id, scope_value, period, spent, held
FROM balance
ORDER BY budget_id, scope_value, period
