-- Statements of the reconcile job. $target is the quoted name of the table; {source} is a frame;
-- $since and $until bound the hours that were compared, as literals.

-- name: merge_reconciliation
MERGE INTO $target AS t
USING {source} AS s
ON t.hour = s.hour
  AND t.endpoint = s.endpoint
  AND t.sku = s.sku
WHEN MATCHED THEN UPDATE SET *
WHEN NOT MATCHED THEN INSERT *
WHEN NOT MATCHED BY SOURCE AND t.hour >= $since AND t.hour < $until THEN DELETE
