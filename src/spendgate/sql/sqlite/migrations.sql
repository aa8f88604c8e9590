-- name: names
SELECT name FROM sqlite_master

-- name: version
SELECT value FROM meta WHERE key = 'schema_version'

-- name: put_version
INSERT INTO meta VALUES ('schema_version', ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
