-- Statements of the alerts. $target is the quoted name of the table; {source} is a frame.

-- name: add_alerts
-- A crossing that is known stays as it was first seen.
MERGE INTO $target AS t
USING {source} AS s
ON t.alert_id = s.alert_id
WHEN NOT MATCHED THEN INSERT *
