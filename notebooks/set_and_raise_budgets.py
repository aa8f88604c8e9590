# Databricks notebook source
# MAGIC %md
# MAGIC # Set a budget and raise it
# MAGIC Budgets are rows of the table `budgets`. Rows that people write here are theirs: the policy file
# MAGIC never overwrites them. The job `sync_policies` brings a change to the gate, and says which rows
# MAGIC it couldn't use.

# COMMAND ----------

dbutils.widgets.text("schema", "main.spendgate")
dbutils.widgets.text("budget_id", "research-monthly")
dbutils.widgets.text("scope", "team:research")
dbutils.widgets.text("limit_usd", "250")
dbutils.widgets.text("raise_usd", "50")
dbutils.widgets.text("raise_days", "7")
dbutils.widgets.text("reason", "a launch this week")

# COMMAND ----------

spark.sql(f"USE {dbutils.widgets.get('schema')}")
names = ("budget_id", "scope", "limit_usd", "raise_usd", "raise_days", "reason")
given = {name: dbutils.widgets.get(name) for name in names}


def wanted(sql):
    """Make one row of what was given; values are quoted by Spark."""
    used = {name: value for name, value in given.items() if "{" + name + "}" in sql}
    spark.sql(sql, **used).createOrReplaceTempView("wanted")


# COMMAND ----------

wanted(
    """
    SELECT
      {budget_id} AS budget_id,
      {scope} AS scope,
      CAST({limit_usd} AS DECIMAL(28, 9)) AS limit_usd,
      'month' AS window
    """
)
spark.sql(
    """
    MERGE INTO budgets AS t
    USING wanted AS s
    ON t.budget_id = s.budget_id AND t.raise_id IS NULL
    WHEN MATCHED THEN UPDATE SET
      scope = s.scope, limit_usd = s.limit_usd, window = s.window
    WHEN NOT MATCHED THEN INSERT
      (budget_id, scope, limit_usd, window)
      VALUES (s.budget_id, s.scope, s.limit_usd, s.window)
    """
)

# COMMAND ----------

# MAGIC %md
# MAGIC A raise is a row of its own: it adds to the limit until it expires, and says why.

# COMMAND ----------

wanted(
    """
    SELECT
      {budget_id} AS budget_id,
      concat({budget_id}, '-raise') AS raise_id,
      CAST({raise_usd} AS DECIMAL(28, 9)) AS raise_usd,
      {reason} AS reason,
      dateadd(DAY, CAST({raise_days} AS INT), current_timestamp()) AS expires_at
    """
)
spark.sql(
    """
    MERGE INTO budgets AS t
    USING wanted AS s
    ON t.budget_id = s.budget_id AND t.raise_id = s.raise_id
    WHEN MATCHED THEN UPDATE SET
      raise_usd = s.raise_usd, reason = s.reason, expires_at = s.expires_at
    WHEN NOT MATCHED THEN INSERT
      (budget_id, raise_id, raise_usd, reason, expires_at)
      VALUES (s.budget_id, s.raise_id, s.raise_usd, s.reason, s.expires_at)
    """
)

# COMMAND ----------

# MAGIC %md
# MAGIC What `sync_policies` will bring into force:

# COMMAND ----------

display(spark.sql(
    "SELECT budget_id, raise_id, scope, limit_usd, raise_usd, expires_at, reason, owner, synced_at "
    "FROM budgets WHERE budget_id = {budget_id}",
    budget_id=given["budget_id"],
))
