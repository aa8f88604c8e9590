"""What can be said of a policy's tokenizers before a call: files that fail, budgets without one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from spendgate.adapters.tokenizer_file import FILE, load_counter
from spendgate.domain.budget import BoundKind, Mode, ModelLimits, Policy
from spendgate.errors import PolicyError


def located(limits: ModelLimits, folder: Path | None) -> ModelLimits:
    """Return a model's limits with the absolute path of its tokenizer; `folder` is the policy's."""
    if limits.tokenizer is None:
        return limits
    path = Path(limits.tokenizer.removeprefix(FILE))
    return replace(limits, tokenizer=f"{FILE}{(folder or Path()).absolute() / path}")


def unusable(models: Mapping[str, ModelLimits], where: str) -> Iterator[str]:
    """Yield a problem for each tokenizer that can't be loaded here."""
    for model, limits in models.items():
        if limits.tokenizer is not None:
            try:
                load_counter(limits.tokenizer)
            except PolicyError as error:
                yield f"{where}: model {model!r}: tokenizer: {error}"


def uncounted(policy: Policy) -> str | None:
    """Say which models are bounded strictly although a budget is counted; None if none is named."""
    counting = [
        one.budget_id
        for one in policy.budgets
        if one.bound is BoundKind.COUNTED and one.mode is Mode.ENFORCE
    ]
    if not counting:
        return None
    names = ", ".join(map(repr, counting[:3])) + (", …" if len(counting) > 3 else "")
    having = {name for name, one in policy.models.items() if one.tokenizer is not None}
    if not having:
        return f"{names}: bound: counted, but no model has a tokenizer; all are bounded strictly"
    lacking = sorted(_named_models(policy) - having)
    if not lacking:
        return None
    return f"{names}: bound: counted, but {', '.join(lacking)} have no tokenizer: bounded strictly"


def _named_models(policy: Policy) -> set[str]:
    steps = [step for one in policy.budgets for step in one.auto_downgrade]
    named = {model for step in steps for model in (*step.from_models, step.to_model)}
    return named | set(policy.models) | set(policy.router.candidates)
