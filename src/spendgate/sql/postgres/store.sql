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
-- For what a crash of the server may take back, or what waits for the disk once its locks are gone.
SET LOCAL synchronous_commit = off

-- name: wait_for_disk
-- A durable transaction of its own. It is on the disk, and on every replica that commits wait for,
-- when all is that was committed before it, by anybody.
SELECT pg_logical_emit_message(true, 'spendgate', '')

-- name: take_your_time
-- For what reads whole tables.
SELECT
  set_config('statement_timeout', '0', true),
  set_config('enable_seqscan', 'on', true),
  set_config('enable_hashjoin', 'on', true),
  set_config('enable_mergejoin', 'on', true)
