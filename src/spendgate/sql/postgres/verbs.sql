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
SELECT a.bal_id, a.spent, a.held, asked.budget_id, asked.scope_value, asked.period
FROM unnest(%s::text[], %s::text[], %s::text[]) AS asked (budget_id, scope_value, period)
CROSS JOIN LATERAL (
  SELECT one.bal_id, one.spent, one.held
  FROM balance AS one
  WHERE one.budget_id = asked.budget_id
    AND one.scope_value = asked.scope_value
    AND one.period = asked.period
    AND one.stripe = 0
  OFFSET 0
) AS a

-- name: reserve_head
-- After the locks: what was committed while they were waited for is seen.
SELECT m.value::bigint, h.hold_id, h.fp, h.state, h.amount, h.charged, h.facts, h.origin
FROM meta AS m
LEFT JOIN hold AS h ON h.hold_id = ANY(%s::text[])
WHERE m.key = 'policy_version'

-- name: lock_known_balances
WITH locked AS MATERIALIZED (
  SELECT 1
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
)
SELECT COUNT(*) FROM locked

-- name: reserve
-- Writes holds and moves their balances, or nothing at all: if the policy has changed, if one of
-- the holds exists, or if a balance is above what it may be. The values that are compared are those
-- of the locked rows: a balance that this transaction hasn't locked appeared after the locks, and
-- stops it too. A new balance is a plain insert: if another process is first, the unique key fails
-- the transaction and it is done anew. Nothing is inserted for a refusal, so random values leave no
-- rows. What is locked stays where it is, so that it is found again by its place (`ctid`). (Locking
-- by place would miss a row that moved while its lock was waited for.)
WITH asked AS MATERIALIZED (
  SELECT
    k.*,
    a.bal_id,
    a.place,
    COALESCE(a.spent, 0) AS spent,
    COALESCE(a.held, 0) AS held,
    COALESCE(a.is_locked, true) AS is_known
  FROM unnest(
    %s::text[],
    %s::text[],
    %s::text[],
    %s::bigint[],
    %s::bigint[],
    %s::bigint[],
    %s::bigint[],
    %s::bigint[]
  ) WITH ORDINALITY
    AS k (budget_id, scope_value, period, amount, entries, spent_max, used_max, at, n)
  LEFT JOIN LATERAL (
    SELECT
      one.bal_id,
      one.ctid AS place,
      one.spent,
      one.held,
      one.xmax = pg_current_xact_id()::xid AS is_locked
    FROM balance AS one
    WHERE one.budget_id = k.budget_id
      AND one.scope_value = k.scope_value
      AND one.period = k.period
      AND one.stripe = 0
    OFFSET 0
  ) AS a ON true
),
checked AS MATERIALIZED (
  SELECT
    (SELECT value::bigint FROM meta WHERE key = 'policy_version') = %s
    AND NOT EXISTS (SELECT 1 FROM hold WHERE hold_id = ANY(%s::text[]))
    AND COALESCE(bool_and(is_known AND spent <= spent_max AND spent <= used_max - held), true)
      AS is_sure,
    COALESCE(array_agg(spent ORDER BY n), ARRAY[]::bigint[]) AS spent,
    COALESCE(array_agg(held ORDER BY n), ARRAY[]::bigint[]) AS held
  FROM asked
),
moved AS MATERIALIZED (
  SELECT asked.*, COALESCE(bal_id, nextval('balance_id')) AS id
  FROM asked
  WHERE (SELECT is_sure FROM checked)
),
ids AS MATERIALIZED (SELECT array_agg(id ORDER BY n) AS of_n FROM moved),
made AS (
  INSERT INTO balance (bal_id, budget_id, scope_value, period, held, touched_at, entries)
  SELECT id, budget_id, scope_value, period, amount, at, entries
  FROM moved
  WHERE bal_id IS NULL
  ORDER BY budget_id, scope_value, period
),
raised AS (
  UPDATE balance AS a
  SET
    held = a.held + m.amount,
    touched_at = GREATEST(a.touched_at, m.at),
    entries = a.entries + m.entries
  FROM moved AS m
  WHERE a.ctid = m.place
),
held AS (
  INSERT INTO hold (origin, hold_id, fp, state, amount, bals, facts, expires_at)
  SELECT
    %s,
    h.hold_id,
    h.fp,
    'held',
    h.amount,
    ARRAY(
      SELECT (SELECT of_n FROM ids)[own.n] FROM unnest(h.claims::integer[]) AS own (n)
    ),
    h.facts,
    h.expires_at
  FROM unnest(
    %s::text[],
    %s::text[],
    %s::bigint[],
    %s::text[],
    string_to_array(%s, chr(10)),
    %s::bigint[]
  ) AS h (hold_id, fp, amount, claims, facts, expires_at)
  WHERE (SELECT is_sure FROM checked)
)
SELECT is_sure, spent, held FROM checked

-- name: move_balances
UPDATE balance AS a
SET
  spent = a.spent + d.spent,
  held = a.held + d.held,
  touched_at = GREATEST(a.touched_at, d.at),
  entries = a.entries + d.entries
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
  AS d (bal_id, spent, held, at, entries)
WHERE a.bal_id = ANY(ARRAY[d.bal_id])
RETURNING a.budget_id, a.scope_value, a.period, a.spent, a.held

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

-- name: lock_ends
-- Holds first, then their balances, which a hold keeps for its life. Nobody reads what is `locked`,
-- and it is asked for so that it happens.
WITH ending AS MATERIALIZED (
  SELECT hold_id, amount, bals
  FROM hold
  WHERE hold_id = ANY(%s::text[])
  ORDER BY hold_id
  FOR UPDATE
),
locked AS MATERIALIZED (
  SELECT 1
  FROM balance
  WHERE bal_id = ANY(ARRAY(SELECT DISTINCT unnest(bals) FROM ending))
  ORDER BY bal_id
  FOR UPDATE
)
SELECT hold_id, amount FROM ending WHERE (SELECT COUNT(*) FROM locked) >= 0

-- name: end_all
-- The first end of every one of these holds, or nothing at all: if one of them has ended already,
-- or has appeared after the locks. An unknown cost is the whole hold's.
WITH ended AS MATERIALIZED (
  SELECT e.*, h.bals, h.facts, h.amount, h.place, h.is_open, COALESCE(e.cost, h.amount) AS charged
  FROM unnest(
    %s::text[],
    %s::text[],
    %s::bigint[],
    string_to_array(%s, chr(10)),
    %s::bigint[]
  ) WITH ORDINALITY
    AS e (hold_id, kind, cost, charge, at, n)
  CROSS JOIN LATERAL (
    SELECT
      one.bals,
      one.facts,
      one.amount,
      one.ctid AS place,
      one.state = 'held' AND one.xmax = pg_current_xact_id()::xid AS is_open
    FROM hold AS one
    WHERE one.hold_id = e.hold_id
    OFFSET 0
  ) AS h
),
sure AS MATERIALIZED (
  SELECT * FROM ended WHERE (SELECT bool_and(is_open) FROM ended)
),
moves AS MATERIALIZED (
  SELECT b.bal_id, SUM(charged)::bigint AS spent, SUM(amount)::bigint AS held, MAX(at) AS at
  FROM sure
  CROSS JOIN unnest(sure.bals) AS b (bal_id)
  GROUP BY b.bal_id
),
finished AS (
  UPDATE hold AS h
  SET state = e.kind, charged = e.charged, events = 1
  FROM sure AS e
  WHERE h.ctid = e.place
),
journal AS (
  INSERT INTO outbox (event_id, hold_id, kind, delta, reserved, bals, facts, charge, recorded_at)
  SELECT hold_id || ':1', hold_id, kind, charged, amount, bals, facts, charge, at
  FROM sure
  ORDER BY n
),
moved AS (
  UPDATE balance AS a
  SET
    spent = a.spent + m.spent,
    held = a.held - m.held,
    touched_at = GREATEST(a.touched_at, m.at)
  FROM moves AS m
  WHERE a.bal_id = ANY(ARRAY[m.bal_id])
  RETURNING a.budget_id, a.scope_value, a.period, a.spent, a.held
)
SELECT done.number, moved.*
FROM (SELECT COUNT(*) AS number FROM sure) AS done
LEFT JOIN moved ON true

-- name: lock_balances_by_id
SELECT 1 FROM balance WHERE bal_id = ANY(%s::bigint[]) ORDER BY bal_id FOR UPDATE

-- name: end_holds
UPDATE hold AS h
SET state = e.state, charged = e.charged, events = e.events
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::integer[])
  AS e (hold_id, state, charged, events)
WHERE h.hold_id = ANY(ARRAY[e.hold_id])

-- name: insert_events
INSERT INTO outbox (event_id, hold_id, kind, delta, reserved, bals, facts, charge, recorded_at)
SELECT e.event_id, e.hold_id, e.kind, e.delta, e.reserved, e.bals::bigint[], e.facts, e.charge, e.at
FROM unnest(
  %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
  %s::text[], %s::text[], %s::text[], %s::bigint[]
) AS e (event_id, hold_id, kind, delta, reserved, bals, facts, charge, at)

-- name: unended_holds
SELECT hold_id FROM hold WHERE hold_id = ANY(%s::text[]) AND state IN ('held', 'expired')

-- name: insert_decisions
INSERT INTO decision_outbox (record) SELECT * FROM unnest(%s::text[])

-- name: all_balances
SELECT budget_id, scope_value, period, spent, held
FROM balance
ORDER BY budget_id, scope_value, period
