-- What a replay reads of a home's tables, by DataFusion. $from and $to are instants, [from, to).

-- name: rows_by_minute
SELECT MAX(date_trunc('minute', occurred_at)) AS minute, COUNT(*) AS calls
FROM $table
WHERE occurred_at >= $from AND occurred_at < $to
GROUP BY date_trunc('minute', occurred_at)
ORDER BY minute

-- name: events
SELECT *
FROM spend_events
WHERE occurred_at >= $from AND occurred_at < $to
ORDER BY occurred_at, hold_id, recorded_at, event_id

-- name: decisions
SELECT *
FROM decisions
WHERE occurred_at >= $from AND occurred_at < $to AND decision = 'refuse'
ORDER BY occurred_at, decision_id
