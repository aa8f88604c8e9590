-- Statements of `spendgate verify --workspace`. $tables is the quoted catalog and schema.

-- Of the calls of the last two days that are old enough to be listed: how many there are, how many
-- the platform lists, and the most rows that one of them has there.
-- name: endpoint_usage
SELECT
  count(DISTINCT e.hold_id) AS calls,
  count(DISTINCT u.client_request_id) AS listed,
  coalesce(max(u.times), 0) AS times_max
FROM $tables.spend_events AS e
LEFT JOIN (
  SELECT
    client_request_id,
    count(*) AS times
  FROM system.serving.endpoint_usage
  GROUP BY client_request_id
) AS u
  ON u.client_request_id = e.hold_id
WHERE e.kind = 'settled'
  AND e.usage_source = 'reported'
  AND e.occurred_at BETWEEN current_timestamp() - INTERVAL 2 DAYS
    AND current_timestamp() - INTERVAL 2 HOURS
