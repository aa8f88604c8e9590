-- Statements of the drain job. $target is the quoted name of the table; {source} is a frame; $times
-- are the hours that its rows are in, as literals, so that Delta looks at files of those hours only.

-- name: insert_events
MERGE INTO $target AS t
USING {source} AS s
ON t.event_id = s.event_id
  AND ($times)
WHEN NOT MATCHED THEN INSERT *

-- name: insert_decisions
MERGE INTO $target AS t
USING {source} AS s
ON t.decision_id = s.decision_id
  AND ($times)
WHEN NOT MATCHED THEN INSERT *
