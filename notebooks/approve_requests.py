# Databricks notebook source
# MAGIC %md
# MAGIC # Approve or deny what was asked for
# MAGIC Agents and people ask for more budget; this lists what waits, and decides one of them. An
# MAGIC approval is a raise that holds from the next call on and ends by itself. It needs the package
# MAGIC and the right to write the ledger; `ledger` is its URL, `lakebase://…` in the bundle.

# COMMAND ----------

dbutils.widgets.text("ledger", "")
dbutils.widgets.text("request_id", "")
dbutils.widgets.text("decision", "approve")
dbutils.widgets.text("reason", "")

# COMMAND ----------

from contextlib import closing

from spendgate.adapters.budget_requests import BudgetRequests, request_json
from spendgate.bootstrap import build_admin, open_ledger, utc_now
from spendgate.config import Settings

settings = Settings(ledger_url=dbutils.widgets.get("ledger"))
me = spark.sql("SELECT current_user()").first()[0]


def shown(requests):
    columns = ("request_id", "budget_id", "amount_usd", "reason", "lasts", "requested_by", "status",
               "decided_by", "expires_at")
    rows = [tuple(request_json(one)[name] for name in columns) for one in requests]
    return spark.createDataFrame(rows, ", ".join(f"{name} string" for name in columns))


# COMMAND ----------

# MAGIC %md
# MAGIC What waits. Fill in `request_id`, `decision` (approve or deny) and `reason`, and run on.

# COMMAND ----------

with closing(open_ledger(settings)) as ledger:
    display(shown(BudgetRequests(build_admin(settings, ledger), utc_now).listed("pending")))

# COMMAND ----------

request_id, decision = dbutils.widgets.get("request_id"), dbutils.widgets.get("decision")
if request_id and decision in ("approve", "deny"):
    with closing(open_ledger(settings)) as ledger:
        desk = BudgetRequests(build_admin(settings, ledger), utc_now)
        decide = desk.approve if decision == "approve" else desk.deny
        display(shown([decide(request_id, me, dbutils.widgets.get("reason"))]))
elif request_id:
    print(f"decision {decision!r} is neither approve nor deny: nothing was decided")
else:
    print("no request_id: nothing was decided")
