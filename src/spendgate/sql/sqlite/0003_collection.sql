-- What may be collected, and what it leaves behind, so that an audit still adds up.

-- Entries of the journal and open holds that name a balance, or once did. What carries as many is
-- named by none any more.
ALTER TABLE balance ADD COLUMN entries INTEGER NOT NULL DEFAULT 0;

UPDATE balance
SET entries = n.entries
FROM (
  SELECT CAST(b.value AS INTEGER) AS bal_id, COUNT(*) AS entries
  FROM (
    SELECT o.bals FROM outbox AS o
    UNION ALL
    SELECT h.bals FROM hold AS h WHERE h.state = 'held'
  ) AS named, json_each(named.bals) AS b
  GROUP BY 1
) AS n
WHERE n.bal_id = balance.bal_id;

CREATE TABLE carried (              -- sums of collected entries per balance; 0 is the whole journal
  bal_id  INTEGER PRIMARY KEY,
  spent   INTEGER NOT NULL CHECK (typeof(spent) = 'integer'),
  entries INTEGER NOT NULL
);
