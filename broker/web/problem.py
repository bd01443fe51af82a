"""Errors as problem+json (RFC 9457): the only place that maps the error tree to HTTP statuses."""

import secrets
from collections.abc import Mapping, MutableMapping
from typing import Any

import orjson
from starlette.responses import Response

from broker.answers import receipt_body
from broker.errors import (
    BadRequest,
    BrokerError,
    Conflict,
    Denied,
    KeyReused,
    LimitExceeded,
    NotFound,
    StepUpRequired,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
)

TYPE_PREFIX = "urn:wicketgate:problem:"

STATUS: Mapping[type[BrokerError], int] = {
    BadRequest: 400,
    TooLarge: 413,
    KeyReused: 422,
    Unauthenticated: 401,
    StepUpRequired: 401,
    Denied: 403,
    NotFound: 404,
    Conflict: 409,
    LimitExceeded: 429,
    UpstreamFailed: 502,
    Unavailable: 503,
    BrokerError: 500,
}
"""Most specific class wins."""

SPECIAL: Mapping[str, int] = {
    "http.version": 505,
    "http.headers_too_large": 431,
    "http.host": 421,
    "http.media_type": 415,
    "http.body_timeout": 408,
    "http.method": 405,
    "http.deadline": 504,
    "upstream.timeout": 504,
}
"""Codes whose HTTP status says more than their class's."""


STEP_UP = frozenset({
    "identity.presence_not_fresh", "identity.presence_unknown", "identity.step_up_required", "identity.acr_not_met",
})  # fmt: skip
"""Reasons that a sign-in takes away; for programs the answer is then 401 with what it must reach."""

REFERENCE = "wicketgate.reference"
"""Where a request's ASGI scope keeps the name under which telemetry has its unexpected failure."""


def failed(scope: MutableMapping[str, Any]) -> BrokerError:
    """The refusal of a request at which something of ours failed; one reference a request, and nothing of the failure."""
    reference = scope.setdefault(REFERENCE, secrets.token_hex(8))
    return BrokerError(
        f"something failed unexpectedly; the gate's telemetry has it under {reference}",
        code="gate.failed",
        remedy="try again; if it fails again, give the operator the reference",
    )


def steps_up(error: BrokerError) -> bool:
    """Whether a fresh or stronger sign-in is all that is missing (RFC 9470): every reason says so."""
    codes = {reason.code for reason in error.reasons} or {error.error_code}
    return isinstance(error, (Denied, StepUpRequired)) and codes <= STEP_UP


def status_of(error: BrokerError) -> int:
    """HTTP status of ``error``: by code where HTTP has a word for it, else by the nearest class of the tree."""
    special = SPECIAL.get(error.error_code)
    if special:
        return special
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: BrokerError, challenge: str = "") -> Response:
    """The response for ``error``: code, reasons with remedies, the decision behind it and where it is on record.

    ``challenge`` is its ``WWW-Authenticate``, where another token would help.
    """
    status = 401 if steps_up(error) else status_of(error)
    reasons = [{"code": reason.code, "remedy": reason.remedy or error.error_remedy} for reason in error.reasons]
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + error.error_code,
        "title": error.title,
        "status": status,
        "detail": error.detail,
        "code": error.error_code,
        "remedy": error.error_remedy,
        "reasons": reasons or [{"code": error.error_code, "remedy": error.error_remedy}],
    }
    if error.decision_id:
        body["decision_id"] = error.decision_id
    if error.receipt is not None:
        body["receipt"] = receipt_body(error.receipt)
    headers: dict[str, str] = {}
    if challenge:
        headers["WWW-Authenticate"] = challenge
    if error.retry_after is not None or isinstance(error, (LimitExceeded, Unavailable)):
        headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/problem+json")
