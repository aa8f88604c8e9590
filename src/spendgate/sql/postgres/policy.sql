-- name: version
SELECT value::bigint FROM meta WHERE key = 'policy_version'

-- name: raise_version
UPDATE meta SET value = (value::bigint + 1)::text WHERE key = 'policy_version'

-- name: get_meta
SELECT value FROM meta WHERE key = %s

-- name: put_meta
INSERT INTO meta VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value

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
INSERT INTO budget VALUES (%s, %s, %s)
ON CONFLICT (budget_id) DO UPDATE SET source = excluded.source, spec = excluded.spec

-- name: remove_budget
DELETE FROM budget WHERE budget_id = %s

-- name: remove_budget_raises
DELETE FROM budget_raise WHERE budget_id = %s

-- name: remove_raise
DELETE FROM budget_raise WHERE raise_id = %s

-- name: remove_file_budgets
DELETE FROM budget WHERE source = 'file'

-- name: remove_file_raises
DELETE FROM budget_raise WHERE source = 'file'

-- name: put_raise
INSERT INTO budget_raise VALUES (%s, %s, %s, %s)
ON CONFLICT (raise_id) DO UPDATE
SET budget_id = excluded.budget_id, source = excluded.source, spec = excluded.spec

-- name: put_pause
INSERT INTO pause VALUES (%s, %s, %s) ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason

-- name: remove_pause
DELETE FROM pause WHERE scope = %s

-- name: put_price
INSERT INTO price (spec) VALUES (%s)

-- name: all_revocations
SELECT key, value FROM meta WHERE key >= %s AND key < %s ORDER BY key

-- name: remove_meta
DELETE FROM meta WHERE key = %s

-- name: add_change
INSERT INTO policy_change (changed_at, actor, reason, kind, name, before, after)
VALUES ((EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint, %s, %s, %s, %s, %s, %s)

-- name: changes_since
SELECT seq, changed_at, actor, reason, kind, name, before, after
FROM policy_change
WHERE seq > %s
ORDER BY seq
LIMIT %s

-- name: get_request
SELECT spec FROM budget_request WHERE request_id = %s

-- name: all_requests
SELECT spec FROM budget_request ORDER BY request_id

-- name: put_request
INSERT INTO budget_request VALUES (%s, %s, %s)
ON CONFLICT (request_id) DO UPDATE SET status = excluded.status, spec = excluded.spec
