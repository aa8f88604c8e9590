"""What is allowed in a policy and most likely not meant: told to whoever imports or checks it."""

from collections.abc import Iterator
from datetime import datetime

from spendgate.adapters.budget_admin import first_named
from spendgate.adapters.policy_fields import did_you_mean
from spendgate.adapters.tokenizer_checks import uncounted
from spendgate.domain.budget import Policy
from spendgate.domain.price import PriceBook


def policy_notes(policy: Policy, book: PriceBook, at: datetime) -> Iterator[str]:
    """Say what of a policy has no effect at a time, or less than it seems to have."""
    if (said := uncounted(policy)) is not None:
        yield said
    if (said := expired(policy, at)) is not None:
        yield said
    for model in policy.models:
        if not book.has(model, at):
            yield (
                f"model {model!r} has no price, so calls for it are refused"
                f"{did_you_mean(model, book.models())}; add one with `spendgate price set`"
            )


def expired(policy: Policy, at: datetime) -> str | None:
    """Name the budgets that bind nothing any more; None if there are none."""
    past = [
        one.budget_id
        for one in policy.budgets
        if one.expires_at is not None and one.expires_at <= at
    ]
    if not past:
        return None
    return (
        f"budgets whose expires_at is past, so that they bind nothing: {first_named(past)}; "
        "remove them or set a later time"
    )
