-- Statements of the alerts. $target is the quoted name of the table; {source} is a frame.

-- name: add_alerts
-- A crossing that is known stays as it was first seen.
MERGE INTO $target AS t
USING {source} AS s
ON t.alert_id = s.alert_id
WHEN NOT MATCHED THEN INSERT *

-- name: note_standings
MERGE INTO $target AS t
USING {source} AS s
ON t.alert_id = s.alert_id
WHEN MATCHED THEN UPDATE SET
  status = s.status,
  attempts = s.attempts,
  sent_at = s.sent_at,
  last_error = s.last_error,
  updated_at = s.updated_at
