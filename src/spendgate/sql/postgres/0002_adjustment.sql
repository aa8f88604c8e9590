-- What has been adjusted, so that the same adjustment again changes nothing. Its entries, with who
-- and why, are in the outbox like those of calls.

CREATE TABLE adjustment (
  adjustment_id text COLLATE "C" PRIMARY KEY,
  fp            text NOT NULL,
  hold_id       text COLLATE "C" NOT NULL,
  amount        bigint NOT NULL
);
