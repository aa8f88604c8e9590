-- name: reserve_head
SELECT
  (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'policy_version'),
  h.fp,
  h.state,
  h.amount,
  h.charged,
  h.facts
FROM (SELECT ? AS hold_id) AS asked
LEFT JOIN hold AS h USING (hold_id)

-- name: hold_by_id
SELECT state, amount, charged, bals, facts, events FROM hold WHERE hold_id = ?

-- name: balances_by_keys
-- {keys} is a list of (?, ?, ?, place); a cross join keeps the look-ups in the index, one per key
SELECT asked.column4, a.bal_id, a.spent, a.held
FROM (VALUES {keys}) AS asked
CROSS JOIN balance AS a
WHERE a.budget_id = asked.column1
  AND a.scope_value = asked.column2
  AND a.period = asked.column3
  AND a.stripe = 0

-- name: insert_balance
INSERT INTO balance (budget_id, scope_value, period, held, touched_at, entries)
VALUES (?, ?, ?, ?, ?, 1)

-- name: hold_in_balances
UPDATE balance
SET
  held = held + ?,
  touched_at = max(touched_at, ?),
  entries = entries + 1
WHERE bal_id IN ({ids})

-- name: insert_hold
-- nothing where the hold exists already, or the policy is another
INSERT INTO hold (hold_id, fp, state, amount, bals, facts, expires_at)
SELECT ?, ?, 'held', ?, ?, ?, ?
WHERE (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'policy_version') = ?
ON CONFLICT (hold_id) DO NOTHING

-- name: end_open_hold
-- charged is null for all that was held
UPDATE hold SET state = ?, charged = coalesce(?, amount), events = events + 1
WHERE hold_id = ? AND state = 'held'
RETURNING amount, bals, facts, events

-- name: end_hold
UPDATE hold SET state = ?, charged = ?, events = ? WHERE hold_id = ?

-- name: move_balances
UPDATE balance
SET
  spent = spent + ?,
  held = held + ?,
  touched_at = max(touched_at, ?),
  entries = entries + ?
WHERE bal_id IN ({ids})
RETURNING budget_id, scope_value, period, spent, held

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

-- name: probe_commit
UPDATE meta SET value = value WHERE key = 'schema_version'
