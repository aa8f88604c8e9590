"""Hard LLM budgets on Databricks: money is reserved before the call."""

__version__ = "0.1.0"
