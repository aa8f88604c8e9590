"""The spend dashboard: its datasets, its pages, its checks, and its picture on this machine.

Owns `resources/spend.lvdash.json`, which Databricks draws, and the report that `spendgate dashboard
render` draws of the same document. Reads tables; writes none.
"""
