-- name: ping
SELECT 1

-- name: begin
BEGIN

-- name: begin_snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY

-- name: lock_writes
SELECT pg_advisory_xact_lock(hashtextextended('spendgate.write', 0))

-- name: commit
COMMIT

-- name: rollback
ROLLBACK

-- name: without_waiting
-- What a crash of the server can take back is a hold's end; the hold is there, and covers the call.
SET LOCAL synchronous_commit = off

-- name: take_your_time
-- For what reads whole tables.
SELECT
  set_config('statement_timeout', '0', true),
  set_config('enable_seqscan', 'on', true),
  set_config('enable_hashjoin', 'on', true),
  set_config('enable_mergejoin', 'on', true)
