-- Metric views, on Databricks alone: elsewhere Spark reads an older form of their YAML, without
-- comments. $yaml is the definition; four dollar signs are two in the statement.

-- name: spend_metrics
CREATE OR REPLACE VIEW ${prefix}spend_metrics
WITH METRICS
LANGUAGE YAML
AS $$$$
$yaml
$$$$
