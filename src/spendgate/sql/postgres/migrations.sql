-- name: configure
-- Each session, once: times are in milliseconds. A worker that is stopped in the middle of a
-- transaction loses it, instead of keeping the others from their budgets.
-- Plans are made once and for index look-ups: they are made when the tables are small, where
-- reading all of a table looks cheap, and are still used when it has grown.
SELECT
  set_config('search_path', 'spendgate', false),
  set_config('synchronous_commit', 'on', false),
  set_config('default_transaction_isolation', 'read committed', false),
  set_config('statement_timeout', %s, false),
  set_config('lock_timeout', %s, false),
  set_config('idle_in_transaction_session_timeout', %s, false),
  set_config('enable_seqscan', 'off', false),
  set_config('enable_hashjoin', 'off', false),
  set_config('enable_mergejoin', 'off', false),
  set_config('plan_cache_mode', 'force_generic_plan', false),
  set_config('jit', 'off', false)

-- name: has_meta
-- Read from the catalog itself: a look-up by name may answer from before the lock was waited for.
SELECT EXISTS (
  SELECT 1
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = 'spendgate' AND c.relname = 'meta'
)

-- name: version
SELECT value FROM meta WHERE key = 'schema_version'

-- name: be_patient
SELECT
  set_config('statement_timeout', '60000', true),
  set_config('lock_timeout', '60000', true)

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('spendgate.migrate', 0))

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS spendgate

-- name: put_version
INSERT INTO meta VALUES ('schema_version', %s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
