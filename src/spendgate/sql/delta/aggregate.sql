-- Statements of the aggregate job. $target is the quoted name of the table; {source} is a frame.
-- OSS Delta binds no parameters in MERGE, so values arrive as columns of the frame.

-- name: merge_hourly
MERGE INTO $target AS t
USING {source} AS s
ON t.hour = s.hour
  AND t.org_id <=> s.org_id
  AND t.team_id <=> s.team_id
  AND t.agent_id <=> s.agent_id
  AND t.user_id <=> s.user_id
  AND t.model = s.model
WHEN MATCHED THEN UPDATE SET *
WHEN NOT MATCHED THEN INSERT *

-- name: replace_window_spend
INSERT OVERWRITE $target BY NAME
SELECT
  *
FROM {source}

-- name: merge_window_spend
MERGE INTO $target AS t
USING {source} AS s
ON t.budget_id = s.budget_id
  AND t.scope = s.scope
  AND t.scope_value = s.scope_value
  AND t.window = s.window
  AND t.window_start <=> s.window_start
  AND t.window_end <=> s.window_end
WHEN MATCHED AND t.batch_id < s.batch_id THEN UPDATE SET
  spent_usd = t.spent_usd + s.spent_usd,
  requests = t.requests + s.requests,
  last_event_at = GREATEST(t.last_event_at, s.last_event_at),
  batch_id = s.batch_id,
  changed_at = s.changed_at
WHEN NOT MATCHED THEN INSERT *

-- name: merge_budget_state
MERGE INTO $target AS t
USING {source} AS s
ON t.budget_id = s.budget_id
  AND t.scope = s.scope
  AND t.scope_value = s.scope_value
  AND t.window = s.window
  AND (t.window_start <=> s.window_start OR s.window LIKE 'rolling:%')
  AND t.window_end <=> s.window_end
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
