"""What the gate answers instead of a result, as exceptions.

::

    GateError                 anything else that is not a result (bad request, not found, conflict, upstream failed)
    ├── NotAuthenticated      401: no credential, or none that holds
    ├── Denied                403: policy or a person said no
    │   └── ObligationFailed  403: permitted on a condition that could not be met
    ├── LimitExceeded         429: too much, too fast; ``retry_after`` says when to come back
    ├── OnlyPlanned           200: policy allowed a dry run only; ``plan`` says what would have happened
    ├── NotDone               200: it ran and ``failed``, or its effect is ``unknown``; the record says what was sent
    ├── ApprovalPending       202: a person has to say yes first; ``action_id`` finds the answer later
    └── Unavailable           503: the gate could not decide, record or scan, so nothing was done
        └── Unreachable       no answer from the gate at all

Each is made from problem+json (RFC 9457) and carries the stable ``code``, the ``reasons`` with a ``remedy`` each, the
``decision_id`` and, where the refusal is on record, its ``receipt``. None carries the request's payload.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from wicketgate.answers import Decision, Ended, Json, Planned, Problem, Reason, Receipt, Waiting


class GateError(Exception):
    """Base of all refusals and failures; ``status`` is the HTTP status, 0 where there was no answer."""

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        """``retry_after`` is in seconds, as the gate stated it."""
        super().__init__(f"{problem.code}: {problem.detail or problem.title}")
        self.problem = problem
        self.status = problem.status
        self.code = problem.code
        self.detail = problem.detail or problem.title
        self.reasons: tuple[Reason, ...] = problem.reasons
        self.decision_id = problem.decision_id
        self.receipt: Receipt | None = problem.receipt
        self.retry_after = retry_after

    @property
    def remedy(self) -> str:
        """What to do next: the problem's own remedy, else the first reason's."""
        return self.problem.remedy or next((reason.remedy for reason in self.reasons if reason.remedy), "")


class NotAuthenticated(GateError):
    """No credential, one that does not hold, or a fresh sign-in is needed."""


class Denied(GateError):
    """Policy or a person said no; see ``reasons``."""


class ObligationFailed(Denied):
    """Permitted on a condition that could not be met."""


class LimitExceeded(GateError):
    """A rate limit is spent; come back after ``retry_after`` seconds."""


class Unavailable(GateError):
    """The gate could not do its duty; nothing was done, so sending again is safe."""


class Unreachable(Unavailable):
    """No answer from the gate. With the same idempotency key, sending again is safe."""


class ApprovalPending(GateError):
    """The action waits for a person. Nothing was done yet; ``Gate.actions.get(action_id, wait=…)`` gives the answer."""

    def __init__(self, waiting: Waiting) -> None:
        """Made from the 202 answer."""
        approval = waiting.approval
        if waiting.status == "running":
            code, detail, remedy = "action.running", "the action runs just now", "read the action again"
        else:
            code = "approval.pending"
            detail = (
                f"approval {approval.id} waits for {approval.quorum} to approve" if approval else "waits for approval"
            )
            remedy = "ask a person who is not the requester to review it, then read the action again"
        super().__init__(_stopped(202, code, detail, remedy, waiting))
        self.decision: Decision | None = waiting.decision
        self.action_id = waiting.action_id
        self.approval = approval


class OnlyPlanned(GateError):
    """Policy allowed a dry run only; ``plan`` is what would have happened, and nothing did."""

    def __init__(self, planned: Planned) -> None:
        """Made from the answer ``planned``."""
        remedy = "ask the owner of the policy if this should be executed"
        super().__init__(_stopped(200, "obligation.dry_run", "only the plan was made", remedy, planned))
        self.action_id = planned.action_id
        self.plan: Json = planned.plan


class NotDone(GateError):
    """The action ended otherwise than asked; ``outcome`` is ``failed``, ``unknown`` or ``partial``."""

    def __init__(self, ended: Ended) -> None:
        """Made from the stored answer."""
        remedy = "look at the target before asking again: the gate repeats nothing by itself"
        super().__init__(_stopped(200, f"action.{ended.status}", f"the action ended {ended.status}", remedy, ended))
        self.action_id = ended.action_id
        self.outcome = ended.status
        self.result: Json = ended.result


def _stopped(status: int, code: str, detail: str, remedy: str, answer: Waiting | Planned | Ended) -> Problem:
    """An answer without a result, as a problem."""
    decision = answer.decision or Decision()
    return Problem(
        status=status,
        code=code,
        detail=detail,
        remedy=remedy,
        decision_id=decision.id,
        reasons=decision.reasons,
        receipt=answer.receipt,
    )


_BY_STATUS: Mapping[int, type[GateError]] = {
    401: NotAuthenticated,
    403: Denied,
    429: LimitExceeded,
    503: Unavailable,
    504: Unavailable,
}


def from_problem(status: int, body: Any, *, retry_after: float | None = None) -> GateError:
    """The exception for one error answer; a body that is no problem+json gives the code ``gate.answer_unreadable``."""
    try:
        problem = Problem.model_validate({**body, "status": status})
    except (TypeError, ValidationError):
        problem = Problem(
            status=status,
            code="gate.answer_unreadable",
            detail=f"status {status} without a problem+json body",
            remedy="check that the address is the gate's and that no proxy answers in its place",
        )
    kind = _BY_STATUS.get(status, GateError)
    if kind is Denied and problem.is_obligation:
        kind = ObligationFailed
    return kind(problem, retry_after=retry_after)
