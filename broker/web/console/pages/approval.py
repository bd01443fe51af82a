"""One waiting request, whole: what, why, on what evidence, under which rules, and the forms to answer it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BadRequest, BrokerError, ReviewOwed, StepUpRequired
from broker.model import Json
from broker.web.console import words
from broker.web.console.desk import Desk, Told
from broker.web.console.pages.difference import Line, difference, pretty
from broker.web.console.pages.inbox import PAGE, target_of
from broker.web.console.pages.keys import answer_of
from broker.web.console.pages.log_lines import LineView
from broker.web.console.pages.narrowing import Narrow, fields_of, read
from broker.web.console.pages.timebox import BoxView, Ending
from broker.web.problem import status_of

ON_THE_PAGE = ("approval.", "signature.")
_VERDICTS = {"verified": "good", "diagnosed": "good", "refuted": "bad", "inconclusive": "warn", "unverifiable": "warn"}
_STATES = {"approved": "good", "done": "good", "denied": "bad", "failed": "bad", "waiting": "warn", "unknown": "warn"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value at a path comes from."""

    path: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim and what the gate found."""

    text: str
    role: str
    verdict: str
    look: str
    reason: str
    statement: str
    actual: str
    observation: str


@dataclass(frozen=True, slots=True)
class DiagnosisView:
    """The diagnosis that the request cites."""

    cause: str
    summary: str
    verdict: str
    look: str
    confidence: int
    missing: tuple[str, ...]
    claims: list[Claim]


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody's answer."""

    reviewer: str
    verdict: str
    reason: str
    at: int
    counts: bool
    recorded: bool


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """What the page shows. ``value`` is the answer of ``gate.approvals.read``; times are seconds since the epoch."""

    value: Mapping[str, Any]
    path: str
    target: str
    state: str
    look: str
    arguments: str
    proposed: str
    """As it was before a reviewer narrowed it; empty where nobody did."""
    origins: list[Origin]
    lines: list[Line]
    rollback: str
    diagnosis: DiagnosisView | None
    similar: list[LineView]
    reviews: list[Answered]
    given: int
    narrow: list[Narrow]
    sign: str
    """What the reviewer's authenticator is asked where policy wants a signature (JSON), or empty."""
    approve_off: str
    """Why this person cannot approve it; empty where they can."""
    deny_off: str
    receipt: Mapping[str, Any]
    ending: Ending
    box: BoxView | None = None
    problem: Mapping[str, str] = field(default_factory=dict)
    """What was wrong with the answer that was just sent: ``detail``, ``remedy``, ``code``."""

    @classmethod
    def of(cls, told: Told, me: str, problem: Mapping[str, str]) -> "ApprovalView":
        """From the answer of ``gate.approvals.read`` with detail; ``me`` is the reader."""
        value = told.value
        plan, arguments = value["plan"], value["arguments"]
        reviews = [Answered(**{name: one[name] for name in Answered.__slots__}) for one in value["reviews"]]
        off = _off(value)
        return cls(
            value=value,
            path=f"{PAGE}/{value['id']}",
            target=target_of(value["resource"]),
            state=words.approval.states.get(value["state"], value["state"]),
            look=_STATES.get(value["state"], "plain"),
            arguments=pretty(arguments) if arguments else "",
            proposed=pretty(value["proposed"]) if value["proposed"] != arguments else "",
            origins=[Origin(path, label == "trusted") for path, label in sorted(value["provenance"].items())],
            lines=difference(plan["before"], plan["after"]),
            rollback=pretty(plan["rollback"]) if plan.get("rollback") else "",
            diagnosis=_diagnosis(value["diagnosis"]) if value["diagnosis"] else None,
            similar=[LineView.of(one) for one in value["similar"]],
            reviews=reviews,
            given=len({one.reviewer for one in reviews if one.verdict == "approve" and one.counts}),
            narrow=fields_of(arguments, value["bounds"]),
            sign=_sign(value),
            approve_off=off or _answered(reviews, me) or (words.approval.signature if _keyless(value) else ""),
            deny_off=off,
            receipt=told.receipt,
            ending=Ending.of(value),
            box=BoxView.of(value, me),
            problem=problem,
        )


class ApprovalPage:
    """``/console/inbox/{id}``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_approval(self, request: Request) -> Response:
        """GET /console/inbox/{id}."""
        return await self._show(request)

    async def console_review(self, request: Request) -> Response:
        """POST /console/inbox/{id}/reviews: one person's answer; what it did not fit is said on the page as it is now."""
        pairs = await self._desk.fields(request)
        said = dict(pairs)
        verdict, reason = said.get("verdict", ""), said.get("reason", "").strip()
        arguments: dict[str, Json] = {
            "approval": request.path_params["id"],
            "verdict": verdict,
            "digest": said.get("digest", ""),
        }
        try:
            if verdict == "deny" and not reason:
                raise BadRequest(
                    words.approval.reason_needed, code="approval.reason", remedy=words.approval.reason_remedy
                )
            if verdict == "approve" and (narrow := read(pairs)):
                arguments["narrow"] = narrow
            if verdict == "approve" and said.get("credential"):
                arguments["assertion"] = answer_of(said["credential"])
            await self._desk.ask(request, "gate.review.create", arguments, reason=reason, key=said.get("key", ""))
        except BrokerError as error:
            presence = isinstance(error, StepUpRequired) and error.error_code != "approval.signature"
            if presence or not error.error_code.startswith(ON_THE_PAGE) or error.error_code == "approval.not_found":
                raise
            if error.error_code != ReviewOwed.code:
                return await self._show(request, error)
            told = words.approval.kept
        else:
            told = words.approval.approved if verdict == "approve" else words.approval.denied
        return self._desk.see_other(f"{PAGE}/{request.path_params['id']}", told=told)

    async def console_acknowledge(self, request: Request) -> Response:
        """POST /console/inbox/{id}/acknowledgements: somebody has seen that it may run by itself."""
        said = dict(await self._desk.fields(request))
        here = request.path_params["id"]
        arguments: dict[str, Json] = {"approval": here, "digest": said.get("digest", "")}
        try:
            await self._desk.ask(request, "gate.review.acknowledge", arguments, key=said.get("key", ""))
        except BrokerError as error:
            if not error.error_code.startswith(ON_THE_PAGE) or error.error_code == "approval.not_found":
                raise
            return await self._show(request, error)
        return self._desk.see_other(f"{PAGE}/{here}", told=words.timebox.acknowledged)

    async def _show(self, request: Request, error: BrokerError | None = None) -> Response:
        said: dict[str, Json] = {"approval": request.path_params["id"], "detail": True}
        told = await self._desk.ask(request, "gate.approvals.read", said)
        me = (await self._desk.visit(request)).principal.subject.id
        problem = {"detail": error.detail, "remedy": error.error_remedy, "code": error.error_code} if error else {}
        title = words.approval.title.format(action=told.value["action"])
        view = ApprovalView.of(told, me, problem)
        return await self._desk.render(
            request, "approval.html", view, title=title, status=status_of(error) if error else 200
        )


def _off(value: Mapping[str, Any]) -> str:
    """Why this person cannot answer at all."""
    open_ = value["state"] in ("waiting", "approved")
    if not open_:
        return words.approval.closed.format(state=words.approval.states.get(value["state"], value["state"]))
    why = value["why_not"]
    return words.approval.four_eyes.format(detail=why["detail"], remedy=why["remedy"]) if why else ""


def _sign(value: Mapping[str, Any]) -> str:
    return "" if not value["signing"] else orjson.dumps({"way": "get", **value["signing"]}).decode()


def _keyless(value: Mapping[str, Any]) -> bool:
    """Whether a signature is wanted of somebody who has nothing to sign with."""
    return bool(value["signature"]) and not (value["signing"] or {}).get("allowCredentials")


def _answered(reviews: Sequence[Answered], me: str) -> str:
    mine = [
        one for one in reviews if one.reviewer == me and one.verdict == "approve" and (one.counts or not one.recorded)
    ]
    if not mine:
        return ""
    return words.approval.approved if mine[-1].recorded else words.approval.kept


def _diagnosis(found: Mapping[str, Any]) -> DiagnosisView:
    cause = found["cause"]
    return DiagnosisView(
        cause=f"{cause['component']}: {cause['fault']}",
        summary=cause["summary"],
        verdict=found["verdict"],
        look=_VERDICTS.get(found["verdict"], "plain"),
        confidence=found["confidence_milli"],
        missing=tuple(found["missing"]),
        claims=[_claim(one) for one in found["claims"]],
    )


def _claim(one: Mapping[str, Any]) -> Claim:
    value = "" if "value" not in one else _text(one["value"])
    return Claim(
        text=one.get("text", ""),
        role=one["role"],
        verdict=one["verdict"],
        look=_VERDICTS.get(one["verdict"], "plain"),
        reason=one["reason"],
        statement=f"{one['selector']} {one['op']} {value}".strip(),
        actual=_text(one["actual"]) if one["actual"] is not None else "",
        observation=one["observation"],
    )


def _text(value: Json) -> str:
    return value if isinstance(value, str) else pretty(value)
