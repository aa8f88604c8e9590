# Databricks notebook source
# MAGIC %md
# MAGIC # What would this policy have done?
# MAGIC Replays past spend under a policy file, before anybody enables it: calls admitted, made smaller,
# MAGIC stepped down and refused, and the money. Nothing is changed.

# COMMAND ----------

dbutils.widgets.text("schema", "main.spendgate")
dbutils.widgets.text("policy", "/Volumes/main/spendgate/files/budgets.yml")
dbutils.widgets.text("days", "30")

# COMMAND ----------

spark.sql(f"USE {dbutils.widgets.get('schema')}")
days = int(dbutils.widgets.get("days"))

# COMMAND ----------

# MAGIC %md
# MAGIC The calls of these days are copied beside the driver, where the replay reads them.

# COMMAND ----------

from pathlib import Path
from tempfile import mkdtemp

from deltalake import write_deltalake

home = Path(mkdtemp(prefix="spendgate-replay-"))
for name in ("spend_events", "decisions"):
    rows = spark.table(name).where(f"occurred_at >= current_timestamp() - INTERVAL {days} DAYS")
    write_deltalake(home / "delta" / name, rows.toArrow())

# COMMAND ----------

import json
import subprocess
import sys

command = ["replay", "--policy", dbutils.widgets.get("policy"), "--home", str(home), "--json"]
done = subprocess.run([sys.executable, "-m", "spendgate", *command], capture_output=True, text=True)
if done.returncode:
    raise RuntimeError(done.stderr)
report = json.loads(done.stdout)

# COMMAND ----------

columns = [name for name in report["past"]]
display(spark.createDataFrame(
    [(when, *(str(report[key][name]) for name in columns)) for when, key in
     (("happened", "past"), ("with this policy", "replayed"))],
    ", ".join(f"`{name}` string" for name in ("when", *columns)),
))
print(f"{report['same_decision']} of {report['calls']} calls are decided the same")
