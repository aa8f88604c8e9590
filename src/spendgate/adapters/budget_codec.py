"""Budgets, raises and defaults as JSON: how a ledger stores them and how `--json` shows them.

The keys are those of the policy file, so that what is shown can be written back; the stored form
has `source` besides. Money is a decimal string, a fraction is a number.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from spendgate.adapters.budget_rows import (
    BudgetRow,
    DefaultsRow,
    ModelRow,
    RaiseRow,
    guard_of,
    nano_of,
    ppm_of,
    problems_of,
    steps_of,
)
from spendgate.adapters.notifier_codec import notifier_as_json, parse_notifier
from spendgate.adapters.plain_data import as_list, as_mapping
from spendgate.adapters.policy_fields import STORED
from spendgate.adapters.upstream_codec import (
    parse_router,
    parse_upstream,
    router_as_json,
    upstream_as_json,
)
from spendgate.domain.budget import (
    CUT,
    PPM,
    Budget,
    ModelLimits,
    Policy,
    PolicyDefaults,
    Raise,
    parse_window,
)
from spendgate.domain.loop import LoopGuard
from spendgate.domain.money import format_usd
from spendgate.domain.retention import format_ttl, parse_ttl
from spendgate.domain.scope import Scope
from spendgate.domain.upstream import UpstreamSpec
from spendgate.errors import PolicyError


def encode_budget(budget: Budget) -> str:
    """Write a budget as one line of JSON."""
    return _compact({**budget_as_json(budget), "source": budget.source})


def decode_budget(text: str) -> Budget:
    """Read what `encode_budget` wrote.

    Raises:
        PolicyError: if the text is no budget of this version.
    """
    row, source = _stored(text, "budget")
    return _budget(row, f"stored budget {row.get('id')!r}", source, STORED)


def encode_raise(raised: Raise) -> str:
    """Write a raise as one line of JSON."""
    row = {**raise_as_json(raised), "source": raised.source}
    if raised.source == CUT:
        row["amount_usd"] = usd_text(-raised.amount_nano)
    return _compact(row)


def decode_raise(text: str) -> Raise:
    """Read what `encode_raise` wrote.

    Raises:
        PolicyError: if the text is no raise of this version.
    """
    row, source = _stored(text, "raise")
    raised = parse_raise(row, where=f"stored raise {row.get('id')!r}", source=source)
    return replace(raised, amount_nano=-raised.amount_nano) if source == CUT else raised


def encode_defaults(policy: Policy) -> str:
    """Write what of a policy is no row of its own as one line of JSON."""
    return _compact(
        {
            "defaults": defaults_as_json(policy.defaults),
            "models": {name: model_as_json(limits) for name, limits in policy.models.items()},
            # A list: the order is the order of preference, which a JSON object promises nobody.
            "upstreams": [{"name": one.name, **upstream_as_json(one)} for one in policy.upstreams],
            "router": router_as_json(policy.router),
            "notifiers": {one.name: notifier_as_json(one) for one in policy.notifiers},
        }
    )


def decode_defaults(text: str) -> Policy:
    """Read what `encode_defaults` wrote, as a policy without budgets.

    Raises:
        PolicyError: if the text has another form.
    """
    row, _ = _stored(text, "defaults")
    models = as_mapping(row.get("models"))
    if models is None:
        raise PolicyError("stored defaults: must hold `defaults` and `models`")
    upstreams = map(as_mapping, as_list(row.get("upstreams", [])) or ())
    return Policy(
        defaults=parse_defaults(row.get("defaults"), where="stored defaults"),
        models={
            name: parse_model(limits, where=f"stored model {name!r}")
            for name, limits in models.items()
        },
        upstreams=tuple(_stored_upstream(one or {}) for one in upstreams),
        router=parse_router(row.get("router", {}), where="stored router"),
        notifiers=tuple(
            parse_notifier(name, one, where=f"stored notifier {name!r}")
            for name, one in (as_mapping(row.get("notifiers")) or {}).items()
        ),
    )


def parse_budget(row: Mapping[str, object], *, where: str, source: str = "file") -> Budget:
    """Read one budget from the policy file's form.

    Raises:
        PolicyError: names `where` and every field that is wrong, a line each.
    """
    return _budget(row, where, source)


def parse_raise(row: Mapping[str, object], *, where: str, source: str = "file") -> Raise:
    """Read one raise from the policy file's form.

    Raises:
        PolicyError: names `where` and every field that is wrong, a line each.
    """
    try:
        return raise_of(RaiseRow.model_validate(row), source)
    except ValidationError as error:
        raise _wrong(where, error) from None


def parse_defaults(row: object, *, where: str) -> PolicyDefaults:
    """Read the defaults from the policy file's form.

    Raises:
        PolicyError: names `where` and every field that is wrong, a line each.
    """
    try:
        return defaults_of(DefaultsRow.model_validate(row))
    except ValidationError as error:
        raise _wrong(where, error) from None


def parse_model(row: object, *, where: str) -> ModelLimits:
    """Read what is known about one model from the policy file's form.

    Raises:
        PolicyError: names `where` and every field that is wrong, a line each.
    """
    try:
        return model_of(ModelRow.model_validate(row))
    except ValidationError as error:
        raise _wrong(where, error) from None


def budget_as_json(budget: Budget) -> dict[str, object]:
    """Return a budget in the policy file's form, every key with its value."""
    scope = dict(budget.scope.parts)
    steps = [{"from": list(one.from_models), "to": one.to_model} for one in budget.auto_downgrade]
    return {
        "id": budget.budget_id,
        "scope": scope,
        "limit_usd": usd_text(budget.limit_nano),
        "window": budget.window.text,
        "tz": budget.tz,
        "rollover": _rollover_as_json(budget),
        "soft_cap": budget.soft_cap_ppm / PPM,
        "hard_cap": budget.hard_cap_ppm / PPM,
        "auto_downgrade": steps,
        "disable_tools": list(budget.disable_tools),
        "alerts": [one / PPM for one in budget.alerts_ppm],
        "routes": list(budget.routes),
        "mode": str(budget.mode),
        "bound": str(budget.bound),
        "fit": budget.fit,
        "min_output_tokens": budget.min_output_tokens,
        "trust": dict(budget.trust),
        "refusal": str(budget.refusal),
        "on_client_abort": budget.on_client_abort,
        "on_store_error": budget.on_store_error,
        "loop_guard": guard_as_json(budget.loop_guard),
        "idle_ttl": _ttl_text(budget.idle_ttl_seconds),
        "expires_at": _instant_text(budget.expires_at),
    }


def _rollover_as_json(budget: Budget) -> dict[str, str] | None:
    if not budget.rollover_max_nano:
        return None
    return {"max_usd": usd_text(budget.rollover_max_nano)}


def raise_as_json(raised: Raise) -> dict[str, object]:
    """Return a raise in the policy file's form."""
    return {
        "raises": raised.budget_id,
        "id": raised.raise_id,
        "amount_usd": usd_text(raised.amount_nano),
        "reason": raised.reason,
        "expires_at": _instant_text(raised.expires_at),
    }


def defaults_as_json(defaults: PolicyDefaults) -> dict[str, object]:
    """Return the defaults in the policy file's form."""
    return {
        "max_output_tokens": defaults.max_output_tokens,
        "unmatched": defaults.unmatched,
        "held_wait_seconds": defaults.held_wait_seconds,
        "loop_guard": guard_as_json(defaults.loop_guard),
        "routes": list(defaults.routes),
    }


def guard_as_json(guard: LoopGuard | None) -> dict[str, object] | None:
    """Return a loop guard in the policy file's form."""
    return None if guard is None else {"repeats": guard.repeats, "minutes": guard.minutes}


def model_as_json(limits: ModelLimits) -> dict[str, object]:
    """Return what is known about a model in the policy file's form."""
    return {
        "image_tokens": limits.image_tokens,
        "audio_tokens": limits.audio_tokens,
        "file_tokens": limits.file_tokens,
        "kept_reasoning_tokens": limits.kept_reasoning_tokens,
        "max_output_tokens": limits.output_tokens_max,
        "min_output_tokens": limits.min_output_tokens,
        "tool_preamble_tokens": limits.tool_preamble_tokens,
        "template_tokens": limits.template_tokens,
        "tokenizer": limits.tokenizer,
    }


def budget_of(row: BudgetRow, source: str = "file") -> Budget:
    """Build a budget from its checked row."""
    return Budget(
        budget_id=row.id,
        scope=Scope.parse(row.scope),
        limit_nano=nano_of(row.limit_usd),
        window=parse_window(row.window),
        tz=row.tz,
        soft_cap_ppm=ppm_of(row.soft_cap),
        hard_cap_ppm=ppm_of(row.hard_cap),
        auto_downgrade=steps_of(row.auto_downgrade),
        disable_tools=row.disable_tools,
        alerts_ppm=tuple(map(ppm_of, row.alerts)),
        routes=row.routes,
        mode=row.mode,
        bound=row.bound,
        fit=row.fit,
        min_output_tokens=row.min_output_tokens,
        trust=dict(row.trust),
        refusal=row.refusal,
        on_client_abort=row.on_client_abort,
        on_store_error=row.on_store_error,
        loop_guard=guard_of(row.loop_guard),
        expires_at=row.expires_at,
        idle_ttl_seconds=None if row.idle_ttl is None else parse_ttl(row.idle_ttl),
        rollover_max_nano=0 if row.rollover is None else nano_of(row.rollover.max_usd),
        source=source,
    )


def raise_of(row: RaiseRow, source: str = "file") -> Raise:
    """Build a raise from its checked row; without an id it is named after its content."""
    return Raise(
        raise_id=row.id or _content_id(row),
        budget_id=row.raises,
        amount_nano=nano_of(row.amount_usd),
        reason=row.reason,
        expires_at=row.expires_at,
        source=source,
    )


def defaults_of(row: DefaultsRow) -> PolicyDefaults:
    """Build the defaults from their checked row."""
    wait = row.held_wait_seconds
    return PolicyDefaults(
        max_output_tokens=row.max_output_tokens,
        unmatched=row.unmatched,
        held_wait_seconds=None if wait is None else float(wait),
        loop_guard=guard_of(row.loop_guard),
        routes=row.routes,
    )


def model_of(row: ModelRow) -> ModelLimits:
    """Build what is known about a model from its checked row."""
    return ModelLimits(
        image_tokens=row.image_tokens,
        audio_tokens=row.audio_tokens,
        file_tokens=row.file_tokens,
        kept_reasoning_tokens=row.kept_reasoning_tokens,
        output_tokens_max=row.max_output_tokens,
        min_output_tokens=row.min_output_tokens,
        tool_preamble_tokens=row.tool_preamble_tokens,
        template_tokens=row.template_tokens,
        tokenizer=row.tokenizer,
    )


def usd_text(nano: int) -> str:
    """Write nano-USD as dollars without needless zeros, such as `500` or `0.25`."""
    return format_usd(nano).rstrip("0").removesuffix(".")


def _content_id(row: RaiseRow) -> str:
    # The same row read twice must be the same raise, or importing a file again would add money.
    content = [row.raises, f"{row.amount_usd:f}", row.reason, _instant_text(row.expires_at)]
    return f"raise-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def _budget(
    row: Mapping[str, object], where: str, source: str, context: str | None = None
) -> Budget:
    try:
        return budget_of(BudgetRow.model_validate(row, context=context), source)
    except ValidationError as error:
        raise _wrong(where, error) from None


def _wrong(where: str, error: ValidationError) -> PolicyError:
    return PolicyError("\n".join(f"{where}: {problem}" for problem in problems_of(error)))


def _stored(text: str, what: str) -> tuple[dict[str, object], str]:
    try:
        row = as_mapping(json.loads(text))
    except json.JSONDecodeError as error:
        raise PolicyError(f"stored {what}: is not JSON: {error.msg}") from None
    if row is None:
        raise PolicyError(f"stored {what}: is not a JSON object")
    source = row.pop("source", "file")
    return row, str(source)


def _stored_upstream(row: dict[str, object]) -> UpstreamSpec:
    name = str(row.pop("name", ""))
    return parse_upstream(name, row, where=f"stored upstream {name!r}")


def _ttl_text(seconds: int | None) -> str | None:
    return None if seconds is None else format_ttl(seconds)


def _instant_text(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
