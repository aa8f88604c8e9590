-- Statements of the chargeback job. $target is the quoted name of the table; {source} is a frame.

-- name: add_version
-- A version that is there is the same run again.
MERGE INTO $target AS t
USING {source} AS s
ON t.period_start = s.period_start
  AND t.period_end = s.period_end
  AND t.version = s.version
WHEN NOT MATCHED THEN INSERT *

-- name: note_sent
MERGE INTO $target AS t
USING {source} AS s
ON t.period_start = s.period_start
  AND t.period_end = s.period_end
  AND t.version = s.version
WHEN MATCHED THEN UPDATE SET
  status = s.status,
  sent_at = s.sent_at
