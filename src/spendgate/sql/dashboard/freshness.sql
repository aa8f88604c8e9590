-- title: How fresh the tables are
-- One row. What the gate has charged and not yet delivered is the gap to the clock.
SELECT
  (SELECT MAX(recorded_at) FROM spend_events) AS newest_event_at,
  (SELECT MAX(occurred_at) FROM decisions) AS newest_decision_at,
  (SELECT MAX(updated_at) FROM budget_state) AS newest_state_at,
  (SELECT COUNT(*) FROM spend_events) AS events
