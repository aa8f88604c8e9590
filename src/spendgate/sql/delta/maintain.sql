-- Statements of the maintain job. $target is the quoted name of the table; {source} is a frame;
-- times are literals.

-- name: files
DESCRIBE DETAIL $target

-- name: optimize
OPTIMIZE $target

-- How long is the table's own property: newer releases of Delta ignore what VACUUM says of it.
-- name: vacuum
VACUUM $target

-- name: properties
SHOW TBLPROPERTIES $target

-- name: set_property
ALTER TABLE $target SET TBLPROPERTIES ('$property' = '$value')

-- What budgets without a window's end were charged is needed for good; the array has their ids.
-- name: delete_events
DELETE FROM $target
WHERE occurred_at < $before
  AND NOT ARRAYS_OVERLAP(budget_ids, $open)

-- name: delete_occurred
DELETE FROM $target
WHERE occurred_at < $before

-- name: delete_windows
DELETE FROM $target
WHERE window_end <= $before

-- name: delete_landed
MERGE INTO $target AS t
USING {source} AS s
ON t.event_id = s.event_id
WHEN MATCHED THEN DELETE
