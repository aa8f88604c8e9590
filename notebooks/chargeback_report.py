# Databricks notebook source
# MAGIC %md
# MAGIC # Chargeback: who pays what for a month
# MAGIC Sums of what the ledger charged, corrections included. The exact FOCUS export and its versions
# MAGIC are made by the job `chargeback`; this is the report that people read.

# COMMAND ----------

dbutils.widgets.text("schema", "main.spendgate")
dbutils.widgets.text("month", "", "First day, such as 2026-03-01; empty is this month")

# COMMAND ----------

spark.sql(f"USE {dbutils.widgets.get('schema')}")
month = dbutils.widgets.get("month") or str(
    spark.sql("SELECT CAST(date_trunc('MONTH', current_timestamp()) AS DATE) AS day").first().day
)
charged = spark.sql(
    """
    SELECT *
    FROM spend_events
    WHERE occurred_at >= CAST({month} AS DATE) AND occurred_at < add_months(CAST({month} AS DATE), 1)
    """,
    month=month,
)
charged.createOrReplaceTempView("charged_in_month")

# COMMAND ----------

by_team = spark.sql(
    """
    SELECT
      org_id,
      team_id,
      COUNT(DISTINCT CASE WHEN kind IN ('settled', 'expired') THEN hold_id END) AS calls,
      SUM(cost_usd) AS usd,
      SUM(CASE WHEN kind IN ('corrected', 'external') THEN cost_usd ELSE 0 END) AS adjusted_usd
    FROM charged_in_month
    GROUP BY org_id, team_id
    ORDER BY usd DESC
    """
)
display(by_team)

# COMMAND ----------

display(spark.sql(
    """
    SELECT team_id, model, tags['cost_center'] AS cost_center, SUM(cost_usd) AS usd
    FROM charged_in_month
    GROUP BY team_id, model, tags['cost_center']
    ORDER BY usd DESC
    LIMIT 500
    """
))

# COMMAND ----------

total = spark.sql("SELECT SUM(cost_usd) AS usd FROM charged_in_month").first().usd or 0
print(f"{month}: {total} USD in all")
