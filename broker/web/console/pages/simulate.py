"""Simulate: one request explained by any revision, beside the one in force and beside the record that it was taken from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker import strictjson
from broker.errors import BadRequest, BrokerError, NotFound
from broker.model import Json
from broker.web.console import words
from broker.web.console.desk import Desk, Told
from broker.web.console.pages.difference import pretty
from broker.web.problem import status_of

PAGE = "/console/simulate"
ACT, READ = "gate.policy.simulate", "gate.policy.read"
WHOSE = ("me", "human", "agent", "agent_for", "workload")
FLAGS = ("session", "tainted", "killed", "dry_run")
NUMBERS = ("auth_age_s", "actions_today", "writes_today")
TEXTS: Mapping[str, int] = {
    "digest": 64,
    "action": 128,
    "type": 64,
    "id": 256,
    "env": 64,
    "arguments": 65_536,
    "reason": 4_096,
    "who": 16,
    "roles": 1_024,
    "subject_id": 300,
    "behalf_roles": 1_024,
    "behalf_id": 300,
    "input": 131_072,
    "record": 64,
    **dict.fromkeys(NUMBERS, 16),
    **dict.fromkeys(FLAGS, 1),
}
"""Fields of the form, and the characters that each may have."""
BLANK: Mapping[str, str] = {**dict.fromkeys(TEXTS, ""), "who": "me", "env": "prod", "arguments": "{}"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One point in which two decisions differ."""

    point: str
    here: str
    there: str


@dataclass(frozen=True, slots=True)
class AnswerView:
    """One answer, and how others answered. ``then`` is empty where no record is beside it."""

    value: Mapping[str, Any]
    look: str
    duties: list[tuple[str, str]]
    advice: str
    because: list[tuple[Mapping[str, Any], str]]
    beside: list[Difference]
    then: list[Difference]
    facts: list[tuple[str, str]]
    input: str
    """What policy was given, as the form shows it."""


@dataclass(frozen=True, slots=True)
class SimulateView:
    """What the page shows. ``given`` is the form as it was sent."""

    given: Mapping[str, str]
    revisions: list[tuple[str, str]]
    off: str
    recalled: Mapping[str, Any] | None
    answer: AnswerView | None
    receipt: Mapping[str, Any]
    problem: Mapping[str, str] = field(default_factory=dict)


class SimulatePage:
    """``/console/simulate``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def console_simulate(self, request: Request) -> Response:
        """GET /console/simulate: the form; with ``record``, filled in from it; with ``digest``, for that revision."""
        query = {name: request.query_params.get(name, "").strip() for name in ("record", "digest")}
        given = {**BLANK, **{name: one[: TEXTS[name]] for name, one in query.items()}}
        if not query["record"]:
            return await self._show(request, given)
        try:
            recalled = (await self._desk.ask(request, ACT, {"record": query["record"]})).value["recalled"]
        except (BadRequest, NotFound) as error:
            return await self._show(request, given, error=error)
        return await self._show(request, {**given, **_fields_of(recalled), **_chosen(query)}, recalled=recalled)

    async def console_simulate_ask(self, request: Request) -> Response:
        """POST /console/simulate: asks; what is wrong with the form is said on the form."""
        form = await self._desk.form(request)
        given = {**BLANK, **{name: one for name, one in form.items() if name in TEXTS}}
        recalled, told = None, None
        try:
            _short_enough(given)
            asked = _input_of(given) if given["input"].strip() else _request_of(given)
            if given["record"]:
                recalled = (await self._desk.ask(request, ACT, {"record": given["record"]})).value["recalled"]
            said: dict[str, Json] = {"digest": given["digest"], "beside": True, "request": asked}
            told = await self._desk.ask(request, ACT, said)
        except (BadRequest, NotFound) as error:
            return await self._show(request, given, recalled=recalled, error=error)
        return await self._show(request, given, recalled=recalled, told=told)

    async def _show(
        self,
        request: Request,
        given: Mapping[str, str],
        *,
        recalled: Mapping[str, Any] | None = None,
        told: Told | None = None,
        error: BrokerError | None = None,
    ) -> Response:
        listed = await self._desk.ask(request, READ)
        off = self._desk.may((await self._desk.visit(request)).principal, ACT)
        view = SimulateView(
            given=given,
            revisions=_revisions(listed.value, given["digest"]),
            off=off,
            recalled=recalled,
            answer=_answer(told.value, recalled) if told else None,
            receipt=(told or listed).receipt,
            problem={"detail": error.detail, "remedy": error.error_remedy, "code": error.error_code} if error else {},
        )
        status = status_of(error) if error else 200
        return await self._desk.render(request, "simulate.html", view, title=words.simulate.title, status=status)


def _chosen(query: Mapping[str, str]) -> dict[str, str]:
    """The revision that the address names goes before the one that decided."""
    return {"digest": query["digest"]} if query["digest"] else {}


def _short_enough(given: Mapping[str, str]) -> None:
    for name, most in TEXTS.items():
        if len(given[name]) > most:
            detail = words.simulate.too_long.format(field=name, most=most)
            raise BadRequest(detail, code="request.parameter", remedy=words.simulate.too_long_remedy)


def _request_of(given: Mapping[str, str]) -> dict[str, Json]:
    """The form as the act's request; raises ``BadRequest`` that names the field."""
    if given["who"] not in WHOSE:
        raise BadRequest(words.simulate.not_known.format(field="who"), code="request.parameter")
    context: dict[str, Json] = {name: True for name in FLAGS if given[name]}
    context |= {name: _number(given, name) for name in NUMBERS if given[name].strip()}
    asked: dict[str, Json] = {
        "action": given["action"].strip(),
        "resource": {name: given[name].strip() for name in ("type", "id", "env")},
        "arguments": _object(given, "arguments"),
        "reason": given["reason"],
        "context": context,
    }
    for name, one in (("action", asked["action"]), *asked["resource"].items()):
        if not one:
            raise BadRequest(f"field `{name}` is empty", code="request.parameter")
    if given["who"] != "me":
        kind = "agent" if given["who"] == "agent_for" else given["who"]
        asked["subject"] = {"type": kind, "id": given["subject_id"].strip(), "roles": _listed(given["roles"])}
    if given["who"] == "agent_for":
        asked["behalf"] = {"id": given["behalf_id"].strip(), "roles": _listed(given["behalf_roles"])}
    return asked


def _input_of(given: Mapping[str, str]) -> dict[str, Json]:
    return {"input": _object(given, "input")}


def _object(given: Mapping[str, str], name: str) -> dict[str, Json]:
    """A JSON object as strictly read as a request's."""
    text = given[name].strip() or "{}"
    try:
        return strictjson.read_object(text.encode())
    except BadRequest as error:
        detail = words.simulate.not_json.format(field=name, detail=error.detail)
        raise BadRequest(detail, code="request.parameter", remedy=words.simulate.not_json_remedy) from None


def _number(given: Mapping[str, str], name: str) -> int:
    text = given[name].strip()
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal():
        detail = words.simulate.not_number.format(field=name)
        raise BadRequest(detail, code="request.parameter", remedy=words.simulate.not_number_remedy)
    return int(text)


def _listed(text: str) -> list[Json]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _fields_of(recalled: Mapping[str, Any]) -> dict[str, str]:
    """A recalled request as the form's fields."""
    subject, behalf, decision = recalled["subject"], recalled["behalf"], recalled["decision"] or {}
    return {
        "digest": decision.get("policy_digest", ""),
        "action": recalled["action"],
        **{name: recalled["resource"][name] for name in ("type", "id", "env")},
        "arguments": pretty(recalled["arguments"]),
        "reason": recalled["reason"],
        "who": "agent_for" if behalf else subject["type"],
        "roles": ", ".join(subject["roles"]),
        "subject_id": subject["id"],
        "behalf_roles": ", ".join(behalf["roles"]) if behalf else "",
        "behalf_id": behalf["id"] if behalf else "",
        "session": "1" if recalled["session"] else "",
    }


def _revisions(value: Mapping[str, Any], chosen: str) -> list[tuple[str, str]]:
    """Digest and label of every kept revision, the one in force first."""
    active, say = value["active"], words.simulate
    first = [(active["digest"], say.revision_active.format(revision=active["revision"]))] if active else []
    kept = [
        (one["digest"], say.revision_kept.format(revision=one["revision"], digest=one["digest"][:8]))
        for one in value["kept"]
        if not active or one["digest"] != active["digest"]
    ]
    listed = [*first, *kept]
    # A bundle may be kept and not be listed: there are many.
    other = [(chosen, f"{chosen[:8]}…")] if chosen and chosen not in dict(listed) else []
    return [*listed, *other]


def _answer(value: Mapping[str, Any], recalled: Mapping[str, Any] | None) -> AnswerView:
    decision, other = value["decision"], value["beside"]
    then = recalled["decision"] if recalled else None
    return AnswerView(
        value=value,
        look="good" if decision["effect"] == "permit" else "bad",
        duties=[(one["kind"], pretty(one["fields"])) for one in decision["duties"]],
        advice=pretty(decision["advice"]) if decision["advice"] else "",
        because=[(one, pretty(one["params"]) if one["params"] else "") for one in decision["because"]],
        beside=_differences(_points(value), _points(other)) if other else [],
        then=_differences(_recorded(decision), then) if then else [],
        facts=sorted(value["facts"].items()),
        input=pretty(value["input"]),
    )


def _points(value: Mapping[str, Any]) -> dict[str, Any]:
    decision = value["decision"]
    return {
        "effect": decision["effect"],
        "tier": decision["tier"],
        "reasons": [one["code"] for one in decision["because"]],
        "duties": [f"{one['kind']} {pretty(one['fields'])}" for one in decision["duties"]],
        "rules": [one["rule"] for one in value["rules"]],
    }


def _recorded(decision: Mapping[str, Any]) -> dict[str, Any]:
    """The points of a decision that a record holds."""
    return {
        **{name: decision[name] for name in ("effect", "tier")},
        "reasons": [one["code"] for one in decision["because"]],
    }


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Difference]:
    """Where two decisions differ; of lists, what only one side has."""
    found = []
    for name, mine in here.items():
        theirs = there[name]
        shown = (_only(mine, theirs), _only(theirs, mine)) if isinstance(mine, list) else (str(mine), str(theirs))
        if shown[0] != shown[1]:
            found.append(Difference(words.simulate.points[name], *shown))
    return found


def _only(mine: Sequence[str], theirs: Sequence[str]) -> str:
    return "\n".join(one for one in mine if one not in theirs) or words.simulate.nothing
