"""Notifiers between the policy file's form, JSON and the domain."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, ValidationError, model_validator

from spendgate.adapters.budget_rows import problems_of
from spendgate.adapters.plain_data import as_list
from spendgate.adapters.policy_fields import PolicyRow, did_you_mean
from spendgate.domain.alert import AlertKind
from spendgate.domain.budget import Budget, PolicyDefaults
from spendgate.domain.notifier import NotifierKind, NotifierSpec
from spendgate.errors import PolicyError

NOTIFIERS_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+|secret:[\w.@-]{1,128}/[\w.@-]{1,128}")


def _read_reference(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not _REFERENCE.fullmatch(value):
        raise ValueError(
            "must say where the secret is: env:NAME, file:PATH or secret:SCOPE/KEY; an address or "
            "a key itself never stands here"
        )
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else as_list(value)


Reference = Annotated[str, BeforeValidator(_read_reference)]


class NotifierRow(PolicyRow):
    """One place that alerts go to; its name is the key that it stands under."""

    to: Reference
    kind: NotifierKind = NotifierKind.MESSAGE
    key: Reference | None = None
    alerts: Annotated[tuple[AlertKind, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> "NotifierRow":
        is_message = self.kind is NotifierKind.MESSAGE
        if not is_message and self.key is None:
            raise ValueError(f"key: is required for kind: {self.kind}; its events are signed by it")
        if is_message and self.key is not None:
            raise ValueError("key: is for kind: webhook; a message's address holds what it needs")
        if self.kind is NotifierKind.CHARGEBACK and self.alerts:
            raise ValueError("alerts: none go to kind: chargeback; remove the line")
        return self


def parse_notifier(name: str, row: object, *, where: str) -> NotifierSpec:
    """Read one notifier from the policy file's form.

    Raises:
        PolicyError: names `where` and every field that is wrong, a line each.
    """
    try:
        read = NotifierRow.model_validate(row)
    except ValidationError as error:
        problems = problems_of(error, NotifierRow.model_fields)
        raise PolicyError("\n".join(f"{where}: {one}" for one in problems)) from None
    if not _NAME.fullmatch(name):
        raise PolicyError(f"{where}: name: use letters, digits and ._:-, 64 characters at most")
    return NotifierSpec(name, read.to, read.kind, read.key, tuple(map(str, read.alerts)))


def notifier_as_json(spec: NotifierSpec) -> dict[str, object]:
    """Return a notifier in the policy file's form, without keys that are at their default."""
    row: Mapping[str, object] = {
        "to": spec.to,
        "kind": None if spec.kind is NotifierKind.MESSAGE else str(spec.kind),
        "key": spec.key,
        "alerts": list(spec.alerts),
    }
    return {name: value for name, value in row.items() if value not in (None, [])}


def unknown_routes(
    budgets: Iterable[Budget],
    defaults: PolicyDefaults,
    names: Collection[str],
    where: str,
) -> Iterator[str]:
    """Yield a problem for each route that leads to none of the named notifiers."""
    routes = [(f"budget {one.budget_id!r}", route) for one in budgets for route in one.routes]
    routes += [("defaults", route) for route in defaults.routes]
    for what, route in routes:
        if route not in names:
            yield (
                f"{where}: {what}: routes: there is no notifier {route[:64]!r}"
                f"{did_you_mean(route, names)}; name it under `notifiers:`"
            )
