"""Model servers and the router as people write them in a policy file: checked field by field.

A secret never stands in the file: `key` says where to find it, and errors don't repeat what was
written there instead.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from spendgate.adapters.plain_data import as_list
from spendgate.adapters.policy_fields import Id, PolicyRow, Text, Texts, Usd, read_number
from spendgate.domain.upstream import ATTEMPTS_MAX, Cause, Strategy, UpstreamKind, WorkspacePath

UPSTREAMS_MAX = 64
CANDIDATES_MAX = 16
SECONDS_MAX = Decimal(3600)

_KEY = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")


def _read_url(value: object) -> str:
    if isinstance(value, str) and "@" in value:  # a password may hold any other character
        raise ValueError(
            "holds a user or password before the @; take them out and name the key with `key:` (in "
            "a path, write %40)"
        )
    parts = urlsplit(value.strip()) if isinstance(value, str) else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL such as https://models.example.com/v1")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path; take out what follows ? or #")
    return parts.geturl().rstrip("/")


def _read_key(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not _KEY.fullmatch(value):
        raise ValueError(
            "must say where the key is: env:NAME or file:PATH; the key itself never stands here"
        )
    return value


def _read_seconds(value: object) -> Decimal:
    seconds = read_number(value)
    if not 0 < seconds <= SECONDS_MAX:
        raise ValueError(f"{seconds} must be above 0 and at most {SECONDS_MAX} seconds")
    return seconds


def _read_causes(value: object) -> object:
    causes = as_list(value)  # YAML reads 429 as a number
    return value if causes is None else [str(one) if type(one) is int else one for one in causes]


Seconds = Annotated[Decimal, BeforeValidator(_read_seconds)]


class UpstreamRow(PolicyRow):
    """One model server; its name is the key that it stands under.

    A field that is checked against another one stands below it.
    """

    kind: UpstreamKind = UpstreamKind.OPENAI
    url: Annotated[str, BeforeValidator(_read_url)] | None = None
    path: WorkspacePath | None = None
    key: Annotated[str, BeforeValidator(_read_key)] | None = None
    aliases: dict[Text, Text] = Field(default_factory=dict)
    models: Annotated[Texts, Field(validate_default=True)] = ()
    geo: Text | None = None
    timeout_seconds: Seconds | None = None
    connect_seconds: Seconds | None = None
    bills_5xx: StrictBool | None = None
    sends_usage_context: StrictBool = True

    @field_validator("path")
    @classmethod
    def _path_is_of_a_workspace(
        cls, value: WorkspacePath | None, info: ValidationInfo
    ) -> WorkspacePath | None:
        if value is not None and info.data.get("kind") is UpstreamKind.OPENAI:
            raise ValueError("is for kind: databricks; put the path into url")
        return value

    @model_validator(mode="after")
    def _has_a_url(self) -> "UpstreamRow":
        if self.url is None and self.kind is UpstreamKind.OPENAI:
            raise ValueError("url: is required for kind: openai")
        if self.url is None and self.key is not None:
            raise ValueError("url: is required beside key; without a key the environment names it")
        if self.kind is UpstreamKind.DATABRICKS and self.url and urlsplit(self.url).path:
            raise ValueError("url: must be the workspace alone; its door is chosen with `path:`")
        return self


class RetriesRow(PolicyRow):
    """How often, how long and why a call is tried again."""

    attempts_max: Annotated[StrictInt, Field(ge=1, le=ATTEMPTS_MAX)] | None = None
    total_seconds: Seconds = Decimal(60)
    backoff_seconds: Seconds = Decimal("0.5")
    causes: Annotated[tuple[Cause, ...], BeforeValidator(_read_causes)] = (
        Cause.CONNECT,
        Cause.RATE_LIMIT,
        Cause.SERVER_ERROR,
    )


class RouterRow(PolicyRow):
    """The router: its name as a model, its candidates, what stands in for which model."""

    name: Id = "auto"
    strategy: Strategy = Strategy.PRIORITY
    candidates: Annotated[Texts, Field(max_length=CANDIDATES_MAX)] = ()
    fallbacks: dict[Text, Texts] = Field(default_factory=dict)
    retries: RetriesRow = RetriesRow()
    max_call_usd: Usd | None = None

    @field_validator("candidates")
    @classmethod
    def _candidates_are_models(cls, value: tuple[str, ...], info: ValidationInfo) -> object:
        if info.data.get("name") in value:
            raise ValueError("holds the router's own name; name models, or rename the router")
        return _each_once(value)

    @field_validator("fallbacks")
    @classmethod
    def _fallbacks_are_others(cls, value: Mapping[str, tuple[str, ...]]) -> object:
        for model, others in value.items():
            if model in others:
                raise ValueError(f"{model[:40]!r} can't stand in for itself; take it out")
            _each_once(others)
        return value


def _each_once(models: Iterable[str]) -> Iterable[str]:
    seen: set[str] = set()
    for model in models:
        if model in seen:
            raise ValueError(f"names {model[:40]!r} twice; keep one")
        seen.add(model)
    return models
