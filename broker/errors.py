"""Everything the gate can answer instead of a result.

::

    BrokerError
    ├── BadRequest            the request itself is wrong: mend it and send again
    │   ├── TooLarge
    │   └── KeyReused         one idempotency key, two payloads
    ├── Unauthenticated       nobody we know
    │   └── StepUpRequired    known, but must sign in afresh
    ├── Denied                policy, a limit of rights, or a person said no
    │   └── ObligationFailed  permitted on a condition that could not be met
    ├── NotFound              absent, or another tenant's: the same answer
    ├── Conflict              the thing is in another state than the request assumes
    ├── LimitExceeded         too much, too fast; says when to come back
    ├── UpstreamFailed        the outside system failed or answered outside its contract
    └── Unavailable           we could not decide, record or scan: nothing was done
        ├── OutcomeOwed       but for this one: it was sent, and its outcome is not on record yet
        ├── ReviewOwed        and this one: a person's answer is kept, and is not on record yet
        ├── PolicyUnavailable
        ├── AuditUnavailable
        ├── StoreUnavailable
        └── RedactionUnavailable

Each error has a stable ``code`` (``area.problem``, listed in docs/errors.md), a sentence for people and a ``remedy``
that says what to do next. None knows HTTP: ``web/problem.py`` alone maps classes to statuses. An error never carries a
secret, an upstream body or a value of the caller's payload beyond the name of a field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a record stands in the log: log origin, sequence number, leaf hash (hex)."""

    log: str
    seq: int
    leaf: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, as policy or a check states it: a stable code, and the remedy for it."""

    code: str
    remedy: str = ""
    params: Mapping[str, str | int | bool] = field(default_factory=dict)
    rule: str = ""
    """The policy rule that said so (``broker.residency``); empty for the gate's own checks."""


class BrokerError(Exception):
    """Base of all refusals and failures of the gate."""

    code: ClassVar[str] = "gate.failed"
    title: ClassVar[str] = "the gate could not do this"
    remedy: ClassVar[str] = "ask the operator to look at the gate's telemetry"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        remedy: str | None = None,
        reasons: Sequence[Reason] = (),
        retry_after: float | None = None,
    ) -> None:
        """``detail`` is one lower-case sentence without a full stop; ``retry_after`` is in seconds."""
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.error_code = code or self.code
        self.error_remedy = remedy or self.remedy
        self.reasons = tuple(reasons)
        self.retry_after = retry_after
        self.decision_id = ""
        """The decision behind this refusal, where one was made."""
        self.receipt: Receipt | None = None
        self.lost = False
        """Of work for several: whether it failed for another one, besides."""
        """Where the refusal or the failed outcome stands in the log; set once, by the pipeline."""


class BadRequest(BrokerError):
    """The request itself is wrong."""

    code = "request.invalid"
    title = "the request is not valid"
    remedy = "mend the named field and send the request again"


class TooLarge(BadRequest):
    """A body, header or value is over its limit."""

    code = "request.too_large"
    title = "the request is too large"
    remedy = "send less: the limit is named in the detail"


class KeyReused(BadRequest):
    """The idempotency key was used before with another payload."""

    code = "idempotency.key_reused"
    title = "this idempotency key belongs to another request"
    remedy = "use a fresh Idempotency-Key for a different request"


class Unauthenticated(BrokerError):
    """No credential, or none that holds."""

    code = "identity.required"
    title = "a valid bearer token is required"
    remedy = "get a token from your identity provider (wicketgate login) and send it as Authorization: Bearer"


class StepUpRequired(Unauthenticated):
    """The person is known, but must prove presence afresh for this."""

    code = "identity.step_up_required"
    title = "a fresh sign-in is required"
    remedy = "sign in again (wicketgate login) and repeat the request"


class Denied(BrokerError):
    """Policy or a person said no."""

    code = "policy.denied"
    title = "policy denies this request"
    remedy = "see the reasons; ask the owner of the policy if the work needs this"


class ObligationFailed(Denied):
    """Permitted on a condition that could not be met."""

    code = "obligation.failed"
    title = "a condition of the permit could not be met"
    remedy = "see the reasons; change the request so that the condition can be met"


class NotFound(BrokerError):
    """Absent, or not yours: the two are not told apart."""

    code = "resource.not_found"
    title = "there is no such thing here"
    remedy = "check the id; it may have expired or belong to somebody else"


class Conflict(BrokerError):
    """The thing is in another state than the request assumes."""

    code = "state.conflict"
    title = "the state does not allow this now"
    remedy = "read the current state and decide again"


class LimitExceeded(BrokerError):
    """Too much, too fast."""

    code = "limit.exceeded"
    title = "a rate limit is spent"
    remedy = "wait for the seconds in Retry-After, then send the request again"


class UpstreamFailed(BrokerError):
    """The outside system failed or answered outside its contract."""

    code = "upstream.failed"
    title = "the target system did not answer as it should"
    remedy = "check the target system; the record says what was sent"

    def __init__(  # noqa: PLR0913 - the base's keywords and one more
        self,
        detail: str = "",
        *,
        sent: bool = True,
        code: str | None = None,
        remedy: str | None = None,
        reasons: Sequence[Reason] = (),
        retry_after: float | None = None,
    ) -> None:
        """``sent`` is False only where the effect cannot have happened: no byte of the request left."""
        super().__init__(detail, code=code, remedy=remedy, reasons=reasons, retry_after=retry_after)
        self.sent = sent


class Unavailable(BrokerError):
    """The gate could not do its duty, so nothing was done."""

    code = "gate.unavailable"
    title = "the gate cannot serve this now; nothing was done"
    remedy = "try again after Retry-After; tell the operator if it lasts"


class OutcomeOwed(Unavailable):
    """The effect was asked for and stands; its record is tried again until it is durable."""

    code = "outcome.unrecorded"
    title = "the action was sent, but its outcome is not on record yet"
    remedy = "do not repeat it: ask GET /v1/actions/{id} until its outcome is there"


class ReviewOwed(Unavailable):
    """A person's answer is kept; its record is tried again until it is durable."""

    code = "approval.unrecorded"
    title = (
        "your answer is kept, but not on record yet: a denial holds already, an approval counts once it is on record"
    )
    remedy = "do not answer again: read the request until your answer is on record; tell the operator if it lasts"


class PolicyUnavailable(Unavailable):
    """No decision could be had: engine down, slow, wrong revision, or an answer outside the schema."""

    code = "policy.unavailable"
    title = "no policy decision could be made; nothing was done"


class AuditUnavailable(Unavailable):
    """The log cannot take a record, so nothing may happen."""

    code = "audit.unavailable"
    title = "the audit log cannot be written; nothing was done"


class StoreUnavailable(Unavailable):
    """The database does not answer."""

    code = "store.unavailable"
    title = "the gate's database does not answer; nothing was done"


class RedactionUnavailable(Unavailable):
    """Something could not be scanned, so it was withheld."""

    code = "redaction.unavailable"
    title = "the content could not be scanned; it was withheld"
