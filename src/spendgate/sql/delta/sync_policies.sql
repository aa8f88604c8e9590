-- Statements of the job sync_policies. $target is the quoted name of the table; {source} is a frame.
-- `seen` is the row as the job read it: a row that was edited since is left to the next round.
-- (MERGE knows no STRUCT(t.*), so the columns are written out; a test compares them.)

-- name: merge_budgets
MERGE INTO $target AS t
USING {source} AS s
ON t.budget_id = s.budget_id
  AND t.raise_id <=> s.raise_id
  AND (s.seen IS NULL OR s.seen = TO_JSON(STRUCT(
    t.budget_id,
    t.raise_id,
    t.raise_usd,
    t.reason,
    t.expires_at,
    t.scope,
    t.limit_usd,
    t.window,
    t.tz,
    t.rollover_max_usd,
    t.soft_cap,
    t.hard_cap,
    t.auto_downgrade,
    t.disable_tools,
    t.alerts,
    t.routes,
    t.mode,
    t.bound,
    t.fit,
    t.min_output_tokens,
    t.trust,
    t.refusal,
    t.on_client_abort,
    t.on_store_error,
    t.loop_guard,
    t.idle_ttl,
    t.owner,
    t.synced_at
  )))
WHEN MATCHED AND s.is_removed THEN DELETE
WHEN MATCHED AND s.seen IS NOT NULL THEN UPDATE SET *
WHEN NOT MATCHED AND s.seen IS NULL THEN INSERT *

-- name: fill_in_prices
MERGE INTO $target AS t
USING {source} AS s
ON TO_JSON(STRUCT(
    t.model,
    t.kind,
    t.geo,
    t.context_tier,
    t.long_context_over_tokens,
    t.effective_from,
    t.effective_to,
    t.token_class,
    t.usd_per_million,
    t.dbu_per_million,
    t.caches_implicitly,
    t.output_tokens_max,
    t.source,
    t.price_version
  )) = s.seen
WHEN MATCHED THEN UPDATE SET *

-- name: add_prices
MERGE INTO $target AS t
USING {source} AS s
ON t.price_version = s.price_version
  AND t.token_class = s.token_class
WHEN NOT MATCHED THEN INSERT *

-- name: add_changes
MERGE INTO $target AS t
USING {source} AS s
ON t.change_id = s.change_id
WHEN NOT MATCHED THEN INSERT *

-- name: merge_requests
MERGE INTO $target AS t
USING {source} AS s
ON t.request_id = s.request_id
WHEN MATCHED AND t.status <> s.status THEN UPDATE SET *
WHEN NOT MATCHED THEN INSERT *
