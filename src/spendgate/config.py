"""All settings, each with unit, default and why; nothing else reads the environment.

Every field is read from `SPENDGATE_<NAME>`. The names of the two source recipes are accepted too
(`DATABRICKS_BASE_URL`, `BUDGET_DEFAULT_LIMIT` …); ours win. Secrets print as `**********`.
"""

import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from spendgate.domain.upstream import url_without_user
from spendgate.json_setting import JsonMapping, JsonTexts


def _names(own: str, *aliases: str) -> AliasChoices:
    """Return the variables that fill a field, ours first; the bare field name is none of them."""
    return AliasChoices(f"SPENDGATE_{own.upper()}", *aliases)


def secret_named(variable: str) -> SecretStr | None:
    """Return the secret in an environment variable that a policy's `key: env:NAME` names."""
    value = os.environ.get(variable)
    return SecretStr(value) if value else None


SQLITE_SCHEME = "sqlite:///"
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
RetentionDays = Annotated[int, Field(ge=400, le=36_500)]


class Settings(BaseSettings):
    """The settings of one process, built once at the edge and passed in."""

    model_config = SettingsConfigDict(
        env_prefix="SPENDGATE_",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    home: Path = Field(default=Path(".spendgate/home"))
    """Folder of the embedded ledger, the Delta tables and the logged model."""

    ledger_url: str | None = Field(default=None, repr=False)
    """Where money is held; None means `sqlite:///<home>/ledger.db`. Hosts on many machines share
    `postgresql://…` or `lakebase://projects/…/branches/…/endpoints/…`; `secret:SCOPE/KEY` names a
    secret of the workspace that holds the URL."""

    budgets_file: Path | None = None
    """The policy file; None: the ledger's own rows, or the `BUDGET_*` default if it had none."""

    upstream_url: Annotated[str, AfterValidator(url_without_user)] | None = Field(
        default=None, validation_alias=_names("upstream_url", "DATABRICKS_BASE_URL")
    )
    """Base URL of the model server, with or without a trailing `/v1`, without a user or password;
    `databricks`: the workspace that the environment's credentials name."""

    upstream_api_key: SecretStr | None = Field(
        default=None, validation_alias=_names("upstream_api_key", "DATABRICKS_API_KEY")
    )
    """Bearer for the model server; None sends none."""

    upstream_timeout_seconds: Seconds = 290.0
    """How long one model call may take: below Model Serving's 297 s, so that we settle first."""

    connect_timeout_seconds: Seconds = 5.0
    """How long a connection may take to open; a failure here can't have been billed."""

    upstream_connections_max: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Connections of one process to one model server, where threads make calls; others wait.
    `app` opens as many as it has calls in flight."""

    upstream_keepalive_seconds: Seconds = 2.0
    """How long an unused connection to a model server is kept: shorter than the server itself
    keeps it (uvicorn: 5 s), so that no call meets a connection being closed."""

    upstream_token_seconds: Annotated[float, Field(ge=0.1, le=60)] = 10.0
    """How long a call waits for a workspace's token, a Lakebase connection for its own; nothing
    was sent and nothing billed then."""

    upstream_bills_5xx: bool = True
    """Whether a 5xx may have been billed: charged in full and reconciled later (the safe side)."""

    signing_key: SecretStr | None = None
    """Key of the spend tokens: at least 32 random bytes, an Ed25519 or P-256 key in PEM (a public
    one verifies only), or `file:PATH` of either. With a key, org, team, agent and user must come
    from a token."""

    signing_keys: SecretStr | None = None
    """Several keys by their ids, as JSON `{"2026-08": "…", "2026-02": "…"}`, values as above: the
    first that can signs, all verify, so that a key is replaced without refusing its tokens."""

    token_audience: Annotated[str, Field(min_length=1)] = "spendgate"  # noqa: S105 - a name
    """Whom spend tokens are for; another name per stage keeps a test's tokens out of production."""

    token_issuer: str | None = None
    """Who must have issued a spend token; None accepts any that a key of ours signed."""

    on_behalf_of_user: bool = False
    """Whether the served model asks Model Serving on whose behalf it is called, and believes only
    that `user`. Needs the extra `databricks` and a model logged with a UserAuthPolicy."""

    caller_timeout_seconds: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    """How long the workspace may take to say whose token a request carries, once per token."""

    forwarded_user_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,60}$")] | None = None
    """Header in which a proxy before `app` names the user, such as `X-Forwarded-Email` of
    Databricks Apps. Only where nobody can reach the host past that proxy: it is believed."""

    admin_token: SecretStr | None = None
    """Bearer for administration routes; None switches them off."""

    helicone_webhook_secret: SecretStr | None = None
    """Secret that Helicone signs its webhooks with; None switches `app`'s `/webhook/helicone` off,
    because what it takes without proof anybody could charge to anybody."""

    webhook_secret: SecretStr | None = None
    """Key of the meters that post to `app`'s `/webhooks/usage`, signed as Standard Webhooks:
    `whsec_` and base64, or any text of 16 bytes and more; None switches it off."""

    hold_ttl_seconds: Seconds | None = None
    """Age at which a hold is charged as expired; None: the upstream time-out plus 30 s."""

    default_max_tokens: Annotated[int, Field(ge=1)] = 4096
    """Output granted to a call that names no `max_tokens`: without a number there is no bound."""

    expected_output_tokens: Annotated[int, Field(ge=1)] = 256
    """Output a call is expected to use, for the soft cap: the median answer of a mixed workload."""

    held_wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    """How long a call waits for calls in flight to release money before `budget_held`."""

    geo: str = "global"
    """Geography whose prices apply; `in_geo` costs a tenth more for most proprietary models."""

    price_overlays: JsonTexts = ()
    """Named price overlays from the package, such as `recipe`."""

    sqlite_synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    """FULL survives power loss at six times the commit cost; NORMAL survives process death."""

    sqlite_busy_seconds: Seconds = 5.0
    """How long a verb waits for the ledger's lock before it fails closed with 503."""

    ledger_pool_max: Annotated[int, Field(ge=3, le=64)] = 4
    """Connections of one process to a shared ledger; the smallest Lakebase takes 104 in all."""

    ledger_timeout_seconds: Annotated[float, Field(ge=0.1, le=60)] = 3.0
    """How long a shared ledger may take to connect, lock or answer before a call gets its 503."""

    ledger_connection_seconds: Seconds = 1800.0
    """Age at which a connection to a shared ledger is renewed: half a Lakebase token's life."""

    ledger_retention_seconds: Seconds = 604_800.0
    """How long an ended, delivered hold stays in the ledger for late evidence and repeated
    idempotency keys: seven days, longer than a reconciliation takes."""

    events_retention_days: RetentionDays | None = None
    """Days after which `job maintain` removes events and decisions from the tables; None keeps
    them. At least 400: longer than the longest rolling window (366 days), a year's comparison,
    and all that may still be reconciled, restated or summed again."""

    windows_retention_days: RetentionDays | None = None
    """Days after its end for which `budget_state` and the sums below it keep a window; None: for
    good. At least 400, so that a window can be compared with that of a year ago."""

    vacuum_hours: Annotated[int, Field(ge=168, le=24 * 365)] = 168
    """How long files that no table names any more are kept for readers that began before: never
    below Delta's 7 days; an aggregation that rests longer has to read from the start. Another
    number becomes the tables' own property, which stays until it is changed."""

    system_catalog: Annotated[str, Field(min_length=1)] = "system"
    """Catalog of the platform's usage and billing tables; another one for copies of them. A home
    on this machine has them as folders in `system`."""

    workspace_ids: JsonTexts = ()
    """Workspaces whose usage and bill are compared with the ledger, as JSON `["123…"]`; none:
    those in whose usage tables our calls are."""

    reconcile_hours: Annotated[float, Field(ge=1, le=24 * 90)] = 72.0
    """How far back a reconciliation looks: longer than the platform's tables lag, shorter than the
    ledger keeps what is corrected by it."""

    bill_hours: Annotated[float, Field(ge=0, le=24 * 30)] = 24.0
    """How long after an hour its bill may still grow: until then a difference is open, no drift.
    `system.billing.usage` lags two to three hours, and up to a day."""

    requester_scopes: JsonMapping = {}
    """Who pays for calls around the gate, by who made them, as JSON
    `{"<application id>": "agent:bot,org:acme"}`; others pay as `user` or `agent` by their name."""

    host_flushes: bool | None = None
    """Whether a host delivers the outbox to its own tables; None: of an embedded ledger only. The
    events of a shared one belong in one place, so that one drain job delivers them."""

    in_model_serving: bool = Field(
        default=False,
        validation_alias=_names(
            "in_model_serving",
            "IS_IN_DB_MODEL_SERVING_ENV",
            "IS_IN_DATABRICKS_MODEL_SERVING_ENV",
        ),
    )
    """Whether this is a container of Databricks Model Serving, which sets these variables itself;
    an embedded ledger is refused there."""

    otlp_endpoint: str | None = Field(
        default=None, validation_alias=_names("otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    """Base URL of an OpenTelemetry collector (OTLP over HTTP) for traces and metrics; None: none.
    Needs the extra `telemetry`."""

    otlp_headers: SecretStr | None = Field(
        default=None, validation_alias=_names("otlp_headers", "OTEL_EXPORTER_OTLP_HEADERS")
    )
    """Headers for it, `name=value,name=value`; they may carry its key."""

    langfuse_host: str = Field(
        default="https://cloud.langfuse.com",
        validation_alias=_names("langfuse_host", "LANGFUSE_HOST", "LANGFUSE_BASE_URL"),
    )
    """Langfuse's address; its OTLP endpoint below it takes the traces."""

    langfuse_public_key: str | None = Field(
        default=None, validation_alias=_names("langfuse_public_key", "LANGFUSE_PUBLIC_KEY")
    )
    """Public key of a Langfuse project; with the secret key every call becomes a generation."""

    langfuse_secret_key: SecretStr | None = Field(
        default=None, validation_alias=_names("langfuse_secret_key", "LANGFUSE_SECRET_KEY")
    )
    """Its secret key."""

    helicone_api_key: SecretStr | None = Field(
        default=None, validation_alias=_names("helicone_api_key", "HELICONE_API_KEY")
    )
    """Helicone's key; with it every call is logged there, after its answer, without its text."""

    helicone_url: str = "https://api.worker.helicone.ai"
    """Helicone's logging address; its regions and self-hosted ones have others."""

    mlflow_experiment: str | None = None
    """Id of the MLflow experiment that gets a trace per call; None: none. Where it is, MLflow's own
    MLFLOW_TRACKING_URI says (`databricks` inside a workspace)."""

    zerobus_endpoint: str | None = None
    """Endpoint of Zerobus, `https://<workspace id>.zerobus.<region>.cloud.databricks.com`, to
    stream events into `zerobus_table` as they happen; None: the drain job alone delivers them.
    Needs the extra `zerobus`."""

    zerobus_table: str | None = None
    """The landing table, `catalog.schema.spend_landing`; the client needs MODIFY and SELECT on
    it itself, and what governs its catalog and schema."""

    zerobus_workspace_url: str | None = Field(
        default=None, validation_alias=_names("zerobus_workspace_url", "DATABRICKS_HOST")
    )
    """The workspace that signs Zerobus's client in."""

    zerobus_client_id: str | None = Field(
        default=None, validation_alias=_names("zerobus_client_id", "DATABRICKS_CLIENT_ID")
    )
    """Service principal that streams."""

    zerobus_client_secret: SecretStr | None = Field(
        default=None, validation_alias=_names("zerobus_client_secret", "DATABRICKS_CLIENT_SECRET")
    )
    """Its OAuth secret."""

    telemetry_service: Annotated[str, Field(min_length=1)] = "spendgate"
    """Service name in traces and metrics."""

    telemetry_queue_max: Annotated[int, Field(ge=1)] = 2000
    """Reports that wait for one telemetry backend; more are dropped and counted."""

    telemetry_timeout_seconds: Seconds = 5.0
    """How long a telemetry backend may take for one request, and a stopping host waits for all."""

    telemetry_metrics_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 30.0
    """How often metrics go to the OTLP endpoint."""

    metrics_token: SecretStr | None = None
    """Bearer for `GET /metrics`; None leaves the page open: it names models, never who called."""

    metrics_folder: Path | None = Field(
        default=None, validation_alias=_names("metrics_folder", "PROMETHEUS_MULTIPROC_DIR")
    )
    """Where several workers add up their counts; a host with more than one sets it itself."""

    body_bytes_max: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Largest request body: Model Serving's own limit for custom endpoints."""

    client_seconds: Seconds = 60.0
    """How long a client may take to send its body, or to take a piece of a streamed answer."""

    stream_keepalive_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 15.0
    """How long a stream of `app` may be silent before a comment is sent, so that no proxy takes it
    for dead while a model thinks; 0 sends none."""

    draining_max: Annotated[int, Field(ge=0)] = 256
    """Streams of clients that left which one process reads on to their usage at once; what comes
    beyond is closed and charged in full."""

    serving_threads: Annotated[int, Field(ge=1)] = 64
    """Calls that one worker of `serve` runs at once (MLflow's default on two cores: six)."""

    flush_seconds: Seconds = 1.0
    """How often the host sends the outbox to Delta."""

    flush_events_max: Annotated[int, Field(ge=1)] = 5000
    """Events in one batch, so that a long outage drains in bounded memory."""

    drain_events_max: Annotated[int, Field(ge=1)] = 50_000
    """Events in one batch of the drain job over a catalog: a commit by Spark takes a second or
    more, so that larger batches than a host's pay off."""

    sweep_seconds: Seconds = 5.0
    """How often the host looks for expired holds."""

    focus_account_id: Annotated[str, Field(min_length=1)] = "spendgate"
    """`BillingAccountId` of the FOCUS export: the id of the Databricks account."""

    focus_account_name: str | None = None
    """`BillingAccountName` of the FOCUS export; None: the id."""

    focus_workspace_id: str | None = None
    """`SubAccountId` of the FOCUS export: the id of the workspace."""

    focus_cloud: Annotated[str, Field(min_length=1)] = "Databricks"
    """`HostProviderName` of the FOCUS export: whose cloud the models run on."""

    alert_seconds: Seconds = 5.0
    """How often the host tells of budgets whose money is gone, and tries again what wasn't told."""

    alert_sink_seconds: Seconds = 3600.0
    """How long an event may wait for the tables before people are told, once a day."""

    policy_seconds: Seconds = 5.0
    """How often the host rereads the policy; a reserve notices a change at once anyway."""

    answers_kept_max: Annotated[int, Field(ge=0)] = 1000
    """Answers kept in memory for idempotency keys, per process; 0 keeps none."""

    answers_bytes_max: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """Bytes of JSON that those answers may have in all, so that long ones can't fill the memory."""

    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8787, validation_alias=_names("port", "PORT")
    )
    """Port of a host."""

    budget_default_limit: Decimal = Field(
        default=Decimal(10), validation_alias=_names("budget_default_limit", "BUDGET_DEFAULT_LIMIT")
    )
    """Limit in USD of the one wildcard budget `user: "*"` where no policy is given."""

    budget_default_window: str = Field(
        default="month", validation_alias=_names("budget_default_window", "BUDGET_DEFAULT_WINDOW")
    )
    """Window of that budget."""

    budget_soft_cap: Decimal = Field(
        default=Decimal("0.8"), validation_alias=_names("budget_soft_cap", "BUDGET_SOFT_CAP")
    )
    """Soft cap of that budget, a fraction of its limit."""

    budget_hard_cap: Decimal = Field(
        default=Decimal("1.0"), validation_alias=_names("budget_hard_cap", "BUDGET_HARD_CAP")
    )
    """Hard cap of that budget, a fraction of its limit."""

    @property
    def ledger_location(self) -> str:
        """The ledger's URL, the home's SQLite file by default."""
        return self.ledger_url or f"{SQLITE_SCHEME}{(self.home / 'ledger.db').absolute()}"

    @property
    def platform_header(self) -> str | None:
        """The forwarded user's header by its lower-case name."""
        return self.forwarded_user_header.lower() if self.forwarded_user_header else None

    @property
    def is_embedded(self) -> bool:
        """Whether the ledger is a file of this machine."""
        return self.ledger_location.startswith(SQLITE_SCHEME)

    @property
    def delta_folder(self) -> Path:
        """Where the Delta tables are, one folder each."""
        return self.home / "delta"

    @property
    def hold_seconds(self) -> float:
        """The life of a hold: longer than its call may take."""
        return self.hold_ttl_seconds or self.upstream_timeout_seconds + 30.0
