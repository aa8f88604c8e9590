-- Statements of the aggregate job. $target is the quoted name of the table; {source} is a frame.
-- OSS Delta binds no parameters in MERGE, so values arrive as columns of the frame. $times and $since
-- are the hours of a round as literals, so that Delta looks only at files of those hours, or windows.

-- The round's hours as they are now, in the place of what they were; hours whose events retention has
-- removed stay. One statement reads {source} once, where MERGE would read it twice.
-- name: merge_hourly
INSERT INTO $target
REPLACE WHERE ($times) AND NOT ($settled)
SELECT
  *
FROM {source}

-- Hours whose events retention has removed can't be made again and stay.
-- name: replace_hourly
INSERT OVERWRITE $target BY NAME
SELECT
  *
FROM {source}
UNION ALL
SELECT
  *
FROM $target
WHERE $settled

-- name: replace_budget_hourly
INSERT OVERWRITE $target BY NAME
SELECT
  *
FROM {source}

-- The hour's sums are made anew from all its events; {source} has the hour's other rows too.
-- name: merge_budget_hourly
INSERT INTO $target
REPLACE WHERE $times
SELECT
  *
FROM {source}

-- name: replace_window_spend
INSERT OVERWRITE $target BY NAME
SELECT
  *
FROM {source}

-- {source} has what the round adds; a round that is repeated adds it to what was before.
-- name: merge_window_spend
MERGE INTO $target AS t
USING {source} AS s
ON t.budget_id = s.budget_id
  AND t.scope = s.scope
  AND t.scope_value = s.scope_value
  AND t.window = s.window
  AND t.window_start <=> s.window_start
  AND t.window_end <=> s.window_end
  AND (t.window_end IS NULL OR t.window_end > $since)
WHEN MATCHED AND t.round_id < s.round_id AND (s.spent_usd <> 0 OR s.requests <> 0) THEN UPDATE SET
  spent_usd = t.spent_usd + s.spent_usd,
  requests = t.requests + s.requests,
  last_event_at = GREATEST(t.last_event_at, s.last_event_at),
  before_usd = t.spent_usd,
  before_requests = t.requests,
  round_id = s.round_id,
  changed_at = s.changed_at
WHEN MATCHED AND t.round_id = s.round_id THEN UPDATE SET
  spent_usd = t.before_usd + s.spent_usd,
  requests = t.before_requests + s.requests,
  last_event_at = GREATEST(t.last_event_at, s.last_event_at)
WHEN NOT MATCHED THEN INSERT *

-- {source} has the same rows in another order.
-- name: replace_later
INSERT INTO $target
REPLACE WHERE last_event_at >= $since
SELECT
  *
FROM {source}

-- name: delete_budgets
MERGE INTO $target AS t
USING {source} AS s
ON t.budget_id = s.budget_id
WHEN MATCHED THEN DELETE

-- name: merge_quarantine
MERGE INTO $target AS t
USING {source} AS s
ON t.event_id = s.event_id
WHEN MATCHED AND t.released_at IS NOT NULL AND t.accepted_by IS NULL THEN UPDATE SET
  reason = s.reason,
  detail = s.detail,
  released_at = NULL
WHEN NOT MATCHED THEN INSERT *

-- name: release_quarantine
MERGE INTO $target AS t
USING {source} AS s
ON t.event_id = s.event_id
WHEN MATCHED THEN UPDATE SET
  released_at = s.released_at

-- A window without its last event is one whose sums the new rows lack. Where it is over, or is a
-- lifetime of a run that keeps those, the table has them, and only what is held of it is news.
-- name: merge_budget_state
MERGE INTO $target AS t
USING {source} AS s
ON t.budget_id = s.budget_id
  AND t.scope = s.scope
  AND t.scope_value = s.scope_value
  AND t.window = s.window
  AND (t.window_start <=> s.window_start OR s.window LIKE 'rolling:%')
  AND t.window_end <=> s.window_end
WHEN MATCHED
  AND s.last_event_at IS NULL
  AND (s.window_end <= s.updated_at OR ($are_lifetimes_kept AND s.window = 'lifetime'))
  THEN UPDATE SET
    held_usd = s.held_usd,
    remaining_usd = t.remaining_usd + COALESCE(t.held_usd, 0) - COALESCE(s.held_usd, 0),
    updated_at = s.updated_at
WHEN MATCHED THEN UPDATE SET *
WHEN NOT MATCHED THEN INSERT *

-- name: delete_budget_state
MERGE INTO $target AS t
USING {source} AS s
ON t.budget_id = s.budget_id
  AND t.scope = s.scope
  AND t.scope_value = s.scope_value
  AND t.window = s.window
  AND t.window_start <=> s.window_start
  AND t.window_end <=> s.window_end
WHEN MATCHED THEN DELETE
