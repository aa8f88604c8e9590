"""Requests for more budget: asked, then approved into a raise that ends, or denied.

Approval writes the raise and the request's end in one transaction, or neither; approved again it
answers what was decided first.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import Field, ValidationError

from spendgate.adapters.budget_admin import PEOPLE, BudgetAdmin, existing
from spendgate.adapters.budget_codec import usd_text
from spendgate.adapters.budget_rows import nano_of, problems_of
from spendgate.adapters.policy_fields import AddedUsd, Id, Instant, PolicyRow, Text, Ttl
from spendgate.adapters.stored_policy import Author, PolicyEdit, RequestRow
from spendgate.domain.budget import Policy, Raise
from spendgate.domain.retention import format_ttl, parse_ttl
from spendgate.errors import AlreadyThereError, NotThereError, PolicyError
from spendgate.gateway.ports import Clock

LASTS = "24h"
"""How long a raise lasts where nobody says."""


class RequestStatus(StrEnum):
    """What became of a request."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"


class _Row(PolicyRow):
    """A request as it is stored."""

    request_id: Id
    budget_id: Id
    amount_usd: AddedUsd
    reason: Text
    lasts: Ttl
    requested_by: Text
    requested_at: Instant
    status: RequestStatus
    decided_by: Text | None = None
    decided_at: Instant | None = None
    decision_reason: str | None = None
    raise_id: Id | None = None
    expires_at: Instant | None = None


class _Asked(PolicyRow):
    """A request as it is made."""

    budget_id: Id
    amount_usd: AddedUsd
    reason: Text
    lasts: Ttl = Field(default=LASTS, validate_default=True)
    request_id: Id | None = None


@dataclass(frozen=True, slots=True)
class BudgetRequest:
    """One request; what is decided is None while it is pending."""

    request_id: str
    budget_id: str
    amount_nano: int
    reason: str
    lasts_seconds: int
    requested_by: str
    requested_at: datetime
    status: RequestStatus = RequestStatus.PENDING
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str | None = None
    raise_id: str | None = None
    expires_at: datetime | None = None


class BudgetRequests:
    """Asks, lists and decides, over one administration."""

    def __init__(self, admin: BudgetAdmin, clock: Clock) -> None:
        self._admin, self._clock = admin, clock

    def listed(self, status: str | None = None) -> list[BudgetRequest]:
        """Return all requests, or those of one status, oldest first."""
        found = [_decoded(text) for text in self._admin.ledger.policies.requests()]
        ordered = sorted(found, key=lambda one: (one.requested_at, one.request_id))
        return [one for one in ordered if status is None or one.status == status]

    def ask(self, row: Mapping[str, object], by: str) -> BudgetRequest:
        """Ask for more; the same request again changes nothing.

        Raises:
            PolicyError: names every field that is wrong.
            NotThereError: if there is no such budget.
            AlreadyThereError: if another request has this name.
        """
        try:
            asked = _Asked.model_validate(row)
        except ValidationError as error:
            problems = problems_of(error, _Asked.model_fields)
            raise PolicyError("\n".join(f"request: {one}" for one in problems)) from None
        made = BudgetRequest(
            request_id=asked.request_id or f"request-{uuid.uuid4().hex[:12]}",
            budget_id=asked.budget_id,
            amount_nano=nano_of(asked.amount_usd),
            reason=asked.reason,
            lasts_seconds=parse_ttl(asked.lasts),
            requested_by=by,
            requested_at=self._clock(),
        )

        def change(policy: Policy) -> tuple[PolicyEdit, BudgetRequest]:
            existing(policy, made.budget_id)
            text = self._admin.ledger.policies.request(made.request_id)
            if text is None:
                return PolicyEdit(requests=(_row(made, None),)), made
            there = _decoded(text)
            if _content(there) != _content(made):
                raise AlreadyThereError(
                    f"there is another request {made.request_id!r} already; "
                    "choose another request_id or key"
                )
            return PolicyEdit(), there

        return self._admin.change(change, Author(by, asked.reason))

    def approve(self, request_id: str, by: str, reason: str = "") -> BudgetRequest:
        """Approve a request: its raise holds from now on, for as long as was asked.

        Raises:
            NotThereError: if there is no such request, or its budget is gone.
            AlreadyThereError: if it was denied.
            PolicyError: if the raised limit can't be.
        """
        return self._decide(request_id, RequestStatus.APPROVED, by, reason)

    def deny(self, request_id: str, by: str, reason: str = "") -> BudgetRequest:
        """Deny a request.

        Raises:
            NotThereError: if there is no such request.
            AlreadyThereError: if it was approved.
        """
        return self._decide(request_id, RequestStatus.DENIED, by, reason)

    def _decide(
        self, request_id: str, status: RequestStatus, by: str, reason: str
    ) -> BudgetRequest:
        def change(policy: Policy) -> tuple[PolicyEdit, BudgetRequest]:
            text = self._admin.ledger.policies.request(request_id)
            if text is None:
                raise NotThereError(
                    f"there is no request {request_id[:128]!r}; the list of requests has their ids"
                )
            before = _decoded(text)
            if before.status is status:
                return PolicyEdit(), before
            if before.status is not RequestStatus.PENDING:
                said = f"{before.status} by {before.decided_by}"
                raise AlreadyThereError(
                    f"request {request_id!r} was {said} already, and that stands; ask anew"
                )
            now = self._clock()
            decided = replace(
                before, status=status, decided_by=by, decided_at=now, decision_reason=reason or None
            )
            edit = PolicyEdit()
            if status is RequestStatus.APPROVED:
                ends = now + timedelta(seconds=before.lasts_seconds)
                decided = replace(decided, raise_id=f"raise-{request_id}"[:128], expires_at=ends)
                edit = self._admin.raising(policy, _raise(decided))
            return replace(edit, requests=(_row(decided, text),)), decided

        return self._admin.change(change, Author(by, reason))


def request_json(request: BudgetRequest) -> dict[str, object]:
    """Return a request as it is shown and stored."""
    return {
        "request_id": request.request_id,
        "budget_id": request.budget_id,
        "amount_usd": usd_text(request.amount_nano),
        "reason": request.reason,
        "lasts": format_ttl(request.lasts_seconds),
        "requested_by": request.requested_by,
        "requested_at": _instant(request.requested_at),
        "status": request.status.value,
        "decided_by": request.decided_by,
        "decided_at": _instant(request.decided_at),
        "decision_reason": request.decision_reason,
        "raise_id": request.raise_id,
        "expires_at": _instant(request.expires_at),
    }


def _raise(request: BudgetRequest) -> Raise:
    assert request.raise_id is not None  # noqa: S101 - it was approved
    return Raise(
        request.raise_id,
        request.budget_id,
        request.amount_nano,
        request.reason,
        request.expires_at,
        PEOPLE,
    )


def _row(request: BudgetRequest, before: str | None) -> RequestRow:
    text = json.dumps(request_json(request), separators=(",", ":"))
    return RequestRow(request.request_id, request.status.value, text, before)


def _decoded(text: str) -> BudgetRequest:
    try:
        row = _Row.model_validate(json.loads(text))
    except ValueError as error:
        raise PolicyError(f"a stored request has another form: {type(error).__name__}") from None
    return BudgetRequest(
        amount_nano=nano_of(row.amount_usd),
        lasts_seconds=parse_ttl(row.lasts),
        **row.model_dump(exclude={"amount_usd", "lasts"}),
    )


def _content(request: BudgetRequest) -> tuple[object, ...]:
    asked = (request.budget_id, request.amount_nano, request.reason, request.lasts_seconds)
    return (*asked, request.requested_by)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
