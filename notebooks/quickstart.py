# Databricks notebook source
# MAGIC %md
# MAGIC # Quickstart: an agent behind a budget
# MAGIC Points an OpenAI client at the gate, reads the `spend` object of an answer, and goes on until a
# MAGIC budget refuses. `base_url` is the gate: `https://<workspace>/serving-endpoints` with `model` the
# MAGIC endpoint's name, or `http://…/v1` of `spendgate app`.

# COMMAND ----------

dbutils.widgets.text("base_url", "")
dbutils.widgets.text("model", "spendgate")
dbutils.widgets.text("served_model", "databricks-claude-haiku-4-5")
dbutils.widgets.text("secret_scope", "spendgate-credentials")
dbutils.widgets.text("secret_key", "api-key")
dbutils.widgets.text("agent", "quickstart")
dbutils.widgets.text("calls_max", "20")

# COMMAND ----------

from openai import APIStatusError, OpenAI

key = dbutils.secrets.get(dbutils.widgets.get("secret_scope"), dbutils.widgets.get("secret_key"))
client = OpenAI(base_url=dbutils.widgets.get("base_url"), api_key=key, max_retries=0)
who = {"agent": dbutils.widgets.get("agent"), "model": dbutils.widgets.get("served_model")}


def ask(text):
    return client.chat.completions.create(
        model=dbutils.widgets.get("model"),
        messages=[{"role": "user", "content": text}],
        max_tokens=50,
        extra_body={"custom_inputs": who},
    )


# COMMAND ----------

# MAGIC %md
# MAGIC One call. What it cost, and how its budgets stand:

# COMMAND ----------

spend = ask("Say hello in one word.").spend
display(spark.createDataFrame([(spend["decision"], spend["model_served"], spend["cost_usd"])],
                              "decision string, model string, cost_usd string"))
columns = ("budget_id", "scope", "limit_usd", "spent_usd", "held_usd", "remaining_usd", "status")
display(spark.createDataFrame([tuple(one[name] for name in columns) for one in spend["budgets"]],
                              ", ".join(f"{name} string" for name in columns)))

# COMMAND ----------

# MAGIC %md
# MAGIC And on, until a budget is exhausted. The refusal names the budget, its figures and the way out;
# MAGIC programs match `error.code`, never the status.

# COMMAND ----------

refusal = None
for number in range(int(dbutils.widgets.get("calls_max"))):
    try:
        ask(f"Tell me fact number {number} about budgets.")
    except APIStatusError as error:
        refusal = error.body
        break
if refusal is None:
    print("no budget refused; raise calls_max, or lower the agent's limit")
else:
    print(refusal["code"], "-", refusal["message"])
