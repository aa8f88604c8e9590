# Databricks notebook source
# MAGIC %md
# MAGIC # Do we agree with the bill, and who calls around the gate?
# MAGIC Reads what the job `reconcile` found. A ratio within 0.98 to 1.02 is agreed; `residual_usd` is
# MAGIC billed and nobody's yet.

# COMMAND ----------

dbutils.widgets.text("schema", "main.spendgate")
dbutils.widgets.text("days", "7")

# COMMAND ----------

spark.sql(f"USE {dbutils.widgets.get('schema')}")
since = spark.sql(
    "SELECT dateadd(DAY, -CAST({days} AS INT), current_timestamp()) AS at",
    days=dbutils.widgets.get("days"),
).first().at
display(spark.sql(
    """
    SELECT
      endpoint,
      sku,
      SUM(our_usd) AS our_usd,
      SUM(billed_usd) AS billed_usd,
      SUM(bypass_usd) AS bypass_usd,
      SUM(residual_usd) AS residual_usd,
      SUM(our_usd) / NULLIF(SUM(billed_usd) - SUM(COALESCE(bypass_usd, 0)), 0) AS ratio
    FROM reconciliation
    WHERE hour >= CAST({since} AS TIMESTAMP) AND billed_usd IS NOT NULL
    GROUP BY endpoint, sku
    ORDER BY billed_usd DESC
    """,
    since=str(since),
))

# COMMAND ----------

# MAGIC %md
# MAGIC Hours that don't agree:

# COMMAND ----------

display(spark.sql(
    "SELECT * FROM reconciliation WHERE hour >= CAST({since} AS TIMESTAMP) AND status IN ('drift', 'unpriced') "
    "ORDER BY ABS(residual_usd) DESC LIMIT 100",
    since=str(since),
))

# COMMAND ----------

# MAGIC %md
# MAGIC Calls around the gate, and whom they were booked on. What keeps callers from it is that they
# MAGIC hold no grant on the models.

# COMMAND ----------

bypass = spark.sql(
    """
    SELECT endpoint, SUM(bypass_requests) AS calls, SUM(bypass_usd) AS usd
    FROM reconciliation
    WHERE hour >= CAST({since} AS TIMESTAMP) AND bypass_requests > 0
    GROUP BY endpoint
    ORDER BY usd DESC
    """,
    since=str(since),
)
display(bypass)
display(spark.sql(
    "SELECT occurred_at, agent_id, user_id, model, cost_usd, reason FROM spend_events "
    "WHERE kind = 'external' AND occurred_at >= CAST({since} AS TIMESTAMP) ORDER BY cost_usd DESC LIMIT 100",
    since=str(since),
))
print("nobody went around the gate" if bypass.first() is None else "somebody went around the gate")
