-- What may be collected, and what it leaves behind, so that an audit still adds up.

-- Entries of the journal and open holds that name a balance, or once did. What carries as many is
-- named by none any more.
ALTER TABLE balance ADD COLUMN entries bigint NOT NULL DEFAULT 0;

UPDATE balance AS a
SET entries = n.entries
FROM (
  SELECT b.bal_id, COUNT(*) AS entries
  FROM (
    SELECT o.bals FROM outbox AS o
    UNION ALL
    SELECT h.bals FROM hold AS h WHERE h.state = 'held'
  ) AS named
  CROSS JOIN unnest(named.bals) AS b (bal_id)
  GROUP BY b.bal_id
) AS n
WHERE n.bal_id = a.bal_id;

CREATE TABLE carried (              -- sums of collected entries per balance; 0 is the whole journal
  bal_id  bigint PRIMARY KEY,
  spent   bigint NOT NULL,
  entries bigint NOT NULL
);
