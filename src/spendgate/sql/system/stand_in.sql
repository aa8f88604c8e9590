-- The platform's tables as it publishes them, as far as reconciliation reads them: for tests, and
-- for a home on this machine, where they are folders. On Databricks nobody creates these.

-- name: billing_usage
CREATE TABLE IF NOT EXISTS $target (
  record_id             STRING,
  account_id            STRING,
  workspace_id          STRING,
  sku_name              STRING,
  cloud                 STRING,
  usage_start_time      TIMESTAMP,
  usage_end_time        TIMESTAMP,
  usage_date            DATE,
  custom_tags           MAP<STRING, STRING>,
  usage_unit            STRING,
  usage_quantity        DECIMAL(38, 18),
  usage_type            STRING,
  billing_origin_product STRING,
  record_type           STRING,
  usage_metadata        STRUCT<endpoint_name: STRING, endpoint_id: STRING, ai_gateway: STRUCT<endpoint_name: STRING, endpoint_id: STRING, destination_model: STRING, destination_id: STRING>>,
  identity_metadata     STRUCT<run_as: STRING, owned_by: STRING, created_by: STRING>,
  product_features      STRUCT<serving_type: STRING, is_serverless: BOOLEAN>
) USING DELTA

-- name: billing_list_prices
CREATE TABLE IF NOT EXISTS $target (
  price_start_time TIMESTAMP,
  price_end_time   TIMESTAMP,
  account_id       STRING,
  sku_name         STRING,
  cloud            STRING,
  currency_code    STRING,
  usage_unit       STRING,
  pricing          STRUCT<default: DECIMAL(38, 18), promotional: STRUCT<default: DECIMAL(38, 18)>, effective_list: STRUCT<default: DECIMAL(38, 18)>>
) USING DELTA

-- name: billing_account_prices
CREATE TABLE IF NOT EXISTS $target (
  price_start_time TIMESTAMP,
  price_end_time   TIMESTAMP,
  account_id       STRING,
  sku_name         STRING,
  cloud            STRING,
  currency_code    STRING,
  usage_unit       STRING,
  pricing          STRUCT<default: DECIMAL(38, 18)>
) USING DELTA

-- name: serving_endpoint_usage
CREATE TABLE IF NOT EXISTS $target (
  account_id             STRING,
  workspace_id           STRING,
  client_request_id      STRING,
  databricks_request_id  STRING,
  requester              STRING,
  status_code            INT,
  request_time           TIMESTAMP,
  input_token_count      BIGINT,
  output_token_count     BIGINT,
  input_character_count  BIGINT,
  output_character_count BIGINT,
  usage_context          MAP<STRING, STRING>,
  request_streaming      BOOLEAN,
  served_entity_id       STRING
) USING DELTA

-- name: serving_served_entities
CREATE TABLE IF NOT EXISTS $target (
  served_entity_id        STRING,
  account_id              STRING,
  workspace_id            STRING,
  created_by              STRING,
  endpoint_name           STRING,
  endpoint_id             STRING,
  served_entity_name      STRING,
  entity_type             STRING,
  entity_name             STRING,
  entity_version          STRING,
  endpoint_config_version INT,
  task                    STRING,
  change_time             TIMESTAMP,
  endpoint_delete_time    TIMESTAMP
) USING DELTA

-- name: ai_gateway_usage
CREATE TABLE IF NOT EXISTS $target (
  account_id         STRING,
  workspace_id       STRING,
  request_id         STRING,
  schema_version     INT,
  endpoint_id        STRING,
  endpoint_name      STRING,
  service_type       STRING,
  service_id         STRING,
  service_name       STRING,
  destination_type   STRING,
  destination_name   STRING,
  destination_id     STRING,
  destination_model  STRING,
  requester          STRING,
  requester_type     STRING,
  event_time         TIMESTAMP,
  url                STRING,
  api_type           STRING,
  request_tags       MAP<STRING, STRING>,
  input_tokens       BIGINT,
  output_tokens      BIGINT,
  total_tokens       BIGINT,
  token_details      STRUCT<cache_read_input_tokens: BIGINT, cache_creation_input_tokens: BIGINT, output_reasoning_tokens: BIGINT>,
  latency_ms         BIGINT,
  status_code        INT
) USING DELTA
