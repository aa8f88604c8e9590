-- name: version
SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'policy_version'

-- name: raise_version
UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'policy_version'

-- name: get_meta
SELECT value FROM meta WHERE key = ?

-- name: put_meta
INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: had_policy
SELECT 1
WHERE EXISTS (SELECT 1 FROM meta WHERE key = 'defaults')
   OR EXISTS (SELECT 1 FROM policy_change WHERE kind = 'budget')

-- name: all_budgets
SELECT budget_id, source, spec FROM budget ORDER BY budget_id

-- name: all_raises
SELECT raise_id, source, spec FROM budget_raise ORDER BY raise_id

-- name: all_pauses
SELECT scope, reason, paused_at FROM pause ORDER BY scope

-- name: all_prices
SELECT spec FROM price ORDER BY seq

-- name: put_budget
INSERT INTO budget VALUES (?, ?, ?)
ON CONFLICT (budget_id) DO UPDATE SET source = excluded.source, spec = excluded.spec

-- name: remove_budget
DELETE FROM budget WHERE budget_id = ?

-- name: remove_budget_raises
DELETE FROM budget_raise WHERE budget_id = ?

-- name: remove_raise
DELETE FROM budget_raise WHERE raise_id = ?

-- name: remove_file_budgets
DELETE FROM budget WHERE source = 'file'

-- name: remove_file_raises
DELETE FROM budget_raise WHERE source = 'file'

-- name: put_raise
INSERT INTO budget_raise VALUES (?, ?, ?, ?)
ON CONFLICT (raise_id) DO UPDATE
SET budget_id = excluded.budget_id, source = excluded.source, spec = excluded.spec

-- name: put_pause
INSERT INTO pause VALUES (?, ?, ?) ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason

-- name: remove_pause
DELETE FROM pause WHERE scope = ?

-- name: put_price
INSERT INTO price (spec) VALUES (?)

-- name: all_revocations
SELECT key, value FROM meta WHERE key >= ? AND key < ? ORDER BY key

-- name: remove_meta
DELETE FROM meta WHERE key = ?

-- name: add_change
INSERT INTO policy_change (changed_at, actor, reason, kind, name, before, after)
VALUES (CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER), ?, ?, ?, ?, ?, ?)

-- name: changes_since
SELECT seq, changed_at, actor, reason, kind, name, before, after
FROM policy_change
WHERE seq > ?
ORDER BY seq
LIMIT ?

-- name: get_request
SELECT spec FROM budget_request WHERE request_id = ?

-- name: all_requests
SELECT spec FROM budget_request ORDER BY request_id

-- name: put_request
INSERT INTO budget_request VALUES (?, ?, ?)
ON CONFLICT (request_id) DO UPDATE SET status = excluded.status, spec = excluded.spec
