-- name: was_used
SELECT
  EXISTS (SELECT 1 FROM hold)
  OR EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'outbox' AND seq > 0)
  OR EXISTS (SELECT 1 FROM meta WHERE key = 'restored_at')

-- name: note_restored
INSERT INTO meta VALUES ('restored_at', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
