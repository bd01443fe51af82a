"""The shapes of the API's answers, wherever they are given: at once, later, at a repetition, or to a reviewer."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from broker.errors import BadRequest, Conflict, Denied, LimitExceeded, NotFound, Receipt, StepUpRequired, UpstreamFailed
from broker.model import Decision, Json, Plan, Redacted, Result, ResultStatus
from broker.store.approvals import Proposal


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets: ``status`` is ``done``, ``waiting`` or ``planned``; ``body`` is the object of the API."""

    status: str
    body: Mapping[str, Json]
    again: bool = False
    """It was given before, under this idempotency key."""


@dataclass(frozen=True, slots=True)
class End:
    """How an execution ended: what step 9 records. ``status`` is ``done``, ``failed``, ``partial`` or ``unknown``."""

    status: str
    whole: Redacted[Json]
    result: Result
    code: str
    answer: Mapping[str, Json]


BEFORE_SENDING = (BadRequest, Denied, NotFound, Conflict, LimitExceeded)
"""What a connector raises before anything leaves it."""
FAILED_HERE = End(
    "unknown", Redacted(None, "default", {}), Result(ResultStatus.ERROR, None, "gate.failed"), "gate.failed", {}
)
"""When the gate itself failed between intent and outcome."""


@dataclass(frozen=True, slots=True)
class Past:
    """An action as the log holds it: its intent's request digest, and the outcome where there is one."""

    request_digest: str
    actor: str
    """Keyed pseudonym of the acting party."""
    on_behalf_of: str
    """Keyed pseudonym of the person whom an agent acted for; empty where nobody stands behind the acting party."""
    intent: Receipt
    outcome: Receipt | None
    status: str
    payload: Mapping[str, Json] | None
    session: str = ""
    granted_until: int = 0
    """Until when its grant let it begin, in seconds."""


def observation_id(action_id: str) -> str:
    """The observation that an action's outcome keeps."""
    return "obs_" + action_id.removeprefix("act_")


def action_of_observation(observation: str) -> str:
    """The action whose outcome keeps this observation."""
    return "act_" + observation.removeprefix("obs_")


def decision_body(decision: Decision) -> dict[str, Json]:
    """A decision as answers carry it."""
    return {
        "id": decision.id,
        "effect": decision.effect,
        "tier": decision.tier,
        "reasons": [{"code": reason.code, "remedy": reason.remedy} for reason in decision.reasons],
        "obligations": sorted({type(duty).__name__.lower() for duty in decision.obligations}),
        **({"breakglass": decision.breakglass} if decision.breakglass else {}),
    }


def receipt_body(receipt: Receipt) -> dict[str, Json]:
    """A receipt as answers carry it."""
    return {"log": receipt.log, "seq": receipt.seq, "leaf": receipt.leaf}


def finished(status: str) -> str:
    """The end of an approval whose action's outcome is ``status``."""
    return status if status in ("done", "unknown") else "failed"


def done_body(action_id: str, status: str, answer: Mapping[str, Json], receipt: Receipt) -> dict[str, Json]:
    """The answer of an action that ended as ``status``."""
    return {
        "action_id": action_id,
        "status": status,
        "observation": observation_id(action_id),
        **answer,
        "receipt": receipt_body(receipt),
    }


def waiting_body(action_id: str, approval: Mapping[str, Json], decision: Decision, receipt: Receipt) -> dict[str, Json]:
    """The answer of an action that waits for people; ``approval`` = id, digest, quorum, expires_at."""
    shown = {**approval, "url": f"/v1/approvals/{approval['id']}"}
    body = {"approval": shown, "decision": decision_body(decision), "receipt": receipt_body(receipt)}
    return {"action_id": action_id, "status": "waiting", **body}


def planned_body(action_id: str, plan: Plan, decision: Decision, receipt: Receipt) -> dict[str, Json]:
    """The answer of a dry run."""
    shown = {"summary": plan.summary, "before": plan.before, "after": plan.after, "affected": list(plan.affected)}
    body = {"plan": shown, "decision": decision_body(decision), "receipt": receipt_body(receipt)}
    return {"action_id": action_id, "status": "planned", **body}


def answer_of(action_id: str, past: Past) -> dict[str, Json]:
    """The stored answer of an action that ended before; its result is gone where its session's key was destroyed."""
    assert past.outcome is not None
    known = past.payload.get("answer") if past.payload else None
    # Without one: the session's key was destroyed, or a crash left only what the target says of the effect.
    nothing: dict[str, Json] = {
        "result": {"status": "unknown" if past.payload else "erased", "value": None, "capped": False, "untrusted": []}
    }
    return done_body(action_id, past.status, known or nothing, past.outcome)


def brief(proposal: Proposal) -> dict[str, Json]:
    """A proposal in a list or in an answer to its requester."""
    return {
        "id": proposal.id,
        "action_id": proposal.action_id,
        "action": proposal.action,
        "resource": dict(proposal.resource),
        "requester": proposal.requester,
        "state": proposal.state,
        "tier": proposal.tier,
        "digest": proposal.digest,
        "quorum": proposal.quorum,
        "expires_at": proposal.expires_at,
        "url": f"/v1/approvals/{proposal.id}",
    }


def box_body(proposal: Proposal) -> Json:
    """How silence may answer a proposal, None where it cannot; times in seconds, 0 for never.

    ``ends`` says what happens where nobody answers: it ``runs`` at ``due``, or ``expires`` when the proposal does.
    """
    box = proposal.box
    if box is None:
        return None
    waits = proposal.state == "waiting" and box.state == "open"
    return {
        "state": box.state,
        "ends": "runs" if waits and box.heard else "expires",
        "rule": box.rule,
        "seconds": box.seconds,
        "roles": list(box.acknowledge),
        "told_at": box.told_at,
        "due": box.due,
        "acknowledged_by": box.acknowledged_by,
        "acknowledged_at": box.acknowledged_at,
        "code": box.code,
    }


def listed(proposal: Proposal) -> dict[str, Json]:
    """A proposal in the list of what waits; ``alike`` is the same for requests of one thing, whoever asks."""
    said = proposal.request["arguments"] if proposal.narrowed is None else proposal.narrowed
    same = orjson.dumps([proposal.action, dict(proposal.resource), dict(said)], option=orjson.OPT_SORT_KEYS)
    return {
        **brief(proposal),
        "reason": proposal.request["reason"],
        "summary": proposal.plan["summary"],
        "created_at": proposal.created_at,
        "alike": hashlib.sha256(same).hexdigest(),
        "time_box": box_body(proposal),
    }


def full(proposal: Proposal) -> dict[str, Json]:
    """Everything a reviewer must see: the exact arguments, the plan, who answered what."""
    arguments = proposal.narrowed if proposal.narrowed is not None else proposal.request["arguments"]
    reviews = [
        {
            "reviewer": one.reviewer,
            "verdict": one.verdict,
            "reason": one.reason,
            "at": one.at,
            "counts": one.digest == proposal.digest and one.counts,
            "recorded": one.counts,
        }
        for one in proposal.reviews
    ]
    return {
        **brief(proposal),
        "arguments": dict(arguments),
        "reason": proposal.request["reason"],
        "plan": dict(proposal.plan),
        "rollback_digest": proposal.rollback_digest,
        "roles": list(proposal.roles),
        "separation": proposal.separation,
        "signature": proposal.signature,
        "policy_revision": proposal.policy_revision,
        "reviews": reviews,
        "time_box": box_body(proposal),
    }


def refused(decision: Decision) -> Denied | Conflict:
    """Policy's no with its first reason as its code; a conflict where every reason passes with time."""
    first = decision.reasons[0]
    waits = [reason.params.get("retry_s") for reason in decision.reasons]
    if all(isinstance(wait, int) for wait in waits):
        longest = float(max(wait for wait in waits if isinstance(wait, int)))
        return Conflict(
            "policy lets this wait",
            code=first.code,
            remedy=first.remedy or None,
            reasons=decision.reasons,
            retry_after=longest,
        )
    return Denied(code=first.code, remedy=first.remedy or None, reasons=decision.reasons)


_RAISED_AGAIN = {
    kind.__name__: kind
    for kind in (BadRequest, Conflict, Denied, LimitExceeded, NotFound, StepUpRequired, UpstreamFailed)
}


def again(action_id: str, past: Past) -> Answer:
    """The stored answer of an action that ended; one that ended in an error raises that error again."""
    body = answer_of(action_id, past)
    if isinstance(error := body.get("error"), dict):
        raised = _RAISED_AGAIN.get(error["kind"], UpstreamFailed)(error["detail"], code=error["code"])
        raised.receipt = past.outcome
        raise raised
    return Answer("done", body, again=True)
