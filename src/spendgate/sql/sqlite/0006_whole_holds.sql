-- A hold is longer than the part of a row that a table without row numbers keeps in its page (490 of
-- 2,048 bytes): the rest had a page of its own, made anew at each change. With row numbers it stays
-- whole, and a call writes 14 pages instead of 17 (measured).

CREATE TABLE whole_hold (
  hold_id    TEXT NOT NULL UNIQUE,
  fp         TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('held', 'settled', 'voided', 'expired')),
  amount     INTEGER NOT NULL CHECK (amount >= 0),
  charged    INTEGER NOT NULL DEFAULT 0,
  bals       TEXT NOT NULL,         -- JSON array of bal_id
  facts      TEXT NOT NULL,         -- JSON: who, which model, which price version
  events     INTEGER NOT NULL DEFAULT 0,
  expires_at INTEGER NOT NULL
);

INSERT INTO whole_hold (hold_id, fp, state, amount, charged, bals, facts, events, expires_at)
SELECT hold_id, fp, state, amount, charged, bals, facts, events, expires_at
FROM hold
ORDER BY hold_id;

DROP TABLE hold;
ALTER TABLE whole_hold RENAME TO hold;
CREATE INDEX hold_due ON hold (expires_at) WHERE state = 'held';
