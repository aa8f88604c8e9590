-- Who changed the policy, when and why; and what people and agents ask for.

CREATE TABLE policy_change (        -- append-only, written with the change itself
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  changed_at bigint NOT NULL,
  actor      text NOT NULL,
  reason     text NOT NULL,
  kind       text NOT NULL,         -- budget | raise | pause | price | defaults | revocation
  name       text NOT NULL,
  before     text,
  after      text
);

CREATE TABLE budget_request (       -- more budget that somebody asks for
  request_id text COLLATE "C" PRIMARY KEY,
  status     text NOT NULL,         -- pending | approved | denied
  spec       text NOT NULL
);
