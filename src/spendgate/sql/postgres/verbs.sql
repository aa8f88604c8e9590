-- name: policy_version
SELECT value::bigint FROM meta WHERE key = 'policy_version'

-- name: lock_windows
-- A rolling window adds up many balances, and one that carries money looks at its neighbours. Some
-- of them don't exist yet and can't be locked, so these reserves go one by one. The keys come sorted.
SELECT pg_advisory_xact_lock(one) FROM unnest(%s::bigint[]) AS one

-- name: lock_balances
-- The values that are checked are the ones this statement returns: those of the locked rows. The
-- ids come from a query of their own, one look-up for each key: joined and sorted by id, balances
-- would be read from the first to the last.
SELECT a.bal_id, a.spent, a.held, a.budget_id, a.scope_value, a.period
FROM balance AS a
WHERE a.bal_id = ANY(ARRAY(
  SELECT b.bal_id
  FROM unnest(%s::text[], %s::text[], %s::text[]) AS asked (budget_id, scope_value, period)
  CROSS JOIN LATERAL (
    SELECT one.bal_id
    FROM balance AS one
    WHERE one.budget_id = asked.budget_id
      AND one.scope_value = asked.scope_value
      AND one.period = asked.period
      AND one.stripe = 0
    OFFSET 0
  ) AS b
))
ORDER BY a.bal_id
FOR UPDATE

-- name: read_balances
SELECT a.bal_id, a.spent, a.held, a.budget_id, a.scope_value, a.period
FROM balance AS a
JOIN unnest(%s::text[], %s::text[], %s::text[]) AS asked (budget_id, scope_value, period)
  USING (budget_id, scope_value, period)
WHERE a.stripe = 0

-- name: existing_holds
SELECT hold_id, fp, state, amount, charged, facts, origin FROM hold WHERE hold_id = ANY(%s::text[])

-- name: draw_ids
SELECT nextval('balance_id') FROM generate_series(1, %s)

-- name: insert_balances
-- A key that another process inserted meanwhile fails the transaction, which is then done anew:
-- the balance exists by then, and is locked and read like any other. Nothing is inserted for a
-- refusal, so random values leave no rows.
INSERT INTO balance (bal_id, budget_id, scope_value, period, held, touched_at, entries)
SELECT *
FROM unnest(
  %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[]
)

-- name: move_balances
UPDATE balance AS a
SET
  spent = a.spent + d.spent,
  held = a.held + d.held,
  touched_at = GREATEST(a.touched_at, d.at),
  entries = a.entries + d.entries
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
  AS d (bal_id, spent, held, at, entries)
WHERE a.bal_id = d.bal_id

-- name: insert_holds
INSERT INTO hold (origin, hold_id, fp, state, amount, bals, facts, expires_at)
SELECT %s, h.hold_id, h.fp, 'held', h.amount, h.bals::bigint[], h.facts, h.expires_at
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::bigint[])
  AS h (hold_id, fp, amount, bals, facts, expires_at)

-- name: lock_holds
SELECT hold_id, state, amount, charged, bals, facts, events
FROM hold
WHERE hold_id = ANY(%s::text[])
ORDER BY hold_id
FOR UPDATE

-- name: lock_due_holds
SELECT hold_id, state, amount, charged, bals, facts, events
FROM hold
WHERE state = 'held' AND expires_at <= %s
ORDER BY expires_at
LIMIT %s
FOR UPDATE SKIP LOCKED

-- name: lock_balances_by_id
SELECT 1 FROM balance WHERE bal_id = ANY(%s::bigint[]) ORDER BY bal_id FOR UPDATE

-- name: end_holds
UPDATE hold AS h
SET state = e.state, charged = e.charged, events = e.events
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::integer[])
  AS e (hold_id, state, charged, events)
WHERE h.hold_id = e.hold_id

-- name: insert_events
INSERT INTO outbox (event_id, hold_id, kind, delta, reserved, bals, facts, charge, recorded_at)
SELECT e.event_id, e.hold_id, e.kind, e.delta, e.reserved, e.bals::bigint[], e.facts, e.charge, e.at
FROM unnest(
  %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
  %s::text[], %s::text[], %s::text[], %s::bigint[]
) AS e (event_id, hold_id, kind, delta, reserved, bals, facts, charge, at)

-- name: unended_holds
SELECT hold_id FROM hold WHERE hold_id = ANY(%s::text[]) AND state IN ('held', 'expired')

-- name: touch_hold
-- A row lock is written to the log, so that the commit after it makes everything before it durable.
SELECT 1 FROM hold WHERE hold_id = %s FOR UPDATE

-- name: insert_decisions
INSERT INTO decision_outbox (record) SELECT * FROM unnest(%s::text[])

-- name: all_balances
SELECT budget_id, scope_value, period, spent, held
FROM balance
ORDER BY budget_id, scope_value, period

-- name: probe_commit
UPDATE meta SET value = value WHERE key = 'schema_version'
