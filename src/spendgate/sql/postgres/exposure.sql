-- name: exposure
-- a hold is on several balances but is held once, so this sums holds; both reads of due holds
-- use the index of the open ones
SELECT
  (SELECT COALESCE(SUM(amount), 0) FROM hold WHERE state = 'held'),
  (SELECT COUNT(*) FROM hold WHERE state = 'held'),
  (SELECT COUNT(*) FROM hold WHERE state = 'held' AND expires_at <= %s),
  (SELECT MIN(expires_at) FROM hold WHERE state = 'held' AND expires_at <= %s),
  (SELECT COUNT(*) FROM outbox),
  (SELECT COUNT(*) FROM balance),
  (SELECT value FROM meta WHERE key = 'schema_version')
