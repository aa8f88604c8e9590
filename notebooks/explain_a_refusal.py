# Databricks notebook source
# MAGIC %md
# MAGIC # Why was my call refused?
# MAGIC The last refusals, the budget behind the newest, and who spent it. Fresh as of the last `drain`
# MAGIC and `aggregate`; the error itself and `spendgate budget explain` are always exact.

# COMMAND ----------

dbutils.widgets.text("schema", "main.spendgate")
dbutils.widgets.text("agent", "")

# COMMAND ----------

spark.sql(f"USE {dbutils.widgets.get('schema')}")
agent = dbutils.widgets.get("agent")
refusals = spark.sql(
    """
    SELECT occurred_at, code, budget_id, agent_id, model_requested,
           limit_usd, spent_usd, held_usd, needed_usd, suggested_model
    FROM decisions
    WHERE decision = 'refuse' AND ({agent} = '' OR agent_id = {agent})
    ORDER BY occurred_at DESC
    LIMIT 100
    """,
    agent=agent,
)
display(refusals)

# COMMAND ----------

newest = refusals.first()
if newest is None:
    print("nothing was refused")
else:
    print(f"{newest.code}: the call needed {newest.needed_usd} USD; budget {newest.budget_id} of "
          f"{newest.limit_usd} USD had {newest.spent_usd} spent and {newest.held_usd} held.")
    print(f"A model that would have fitted: {newest.suggested_model or 'none'}.")

# COMMAND ----------

# MAGIC %md
# MAGIC How that budget stands, and who spent it:

# COMMAND ----------

budget = "" if newest is None else newest.budget_id
display(spark.sql(
    "SELECT scope_value, status, limit_usd, spent_usd, remaining_usd, window_end AS resets_at "
    "FROM budget_state WHERE budget_id = {budget} ORDER BY used_ratio DESC LIMIT 100",
    budget=budget,
))
display(spark.sql(
    "SELECT agent_id, user_id, model, COUNT(DISTINCT hold_id) AS calls, SUM(cost_usd) AS usd "
    "FROM spend_events WHERE array_contains(budget_ids, {budget}) "
    "GROUP BY agent_id, user_id, model ORDER BY usd DESC LIMIT 100",
    budget=budget,
))
