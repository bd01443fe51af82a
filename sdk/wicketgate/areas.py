"""The areas of the API, one small class each; ``Gate`` holds one of every kind."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict

import httpx

from wicketgate.answers import (
    ApprovalDetail,
    Claimed,
    Diagnosis,
    Done,
    Ended,
    Entry,
    EventsPart,
    IncidentDetail,
    IncidentPage,
    Json,
    Observation,
    Planned,
    Problem,
    Review,
    Session,
    Waiting,
)
from wicketgate.errors import ApprovalPending, GateError, NotDone, OnlyPlanned
from wicketgate.wire import Sending, Wire
from wicketgate.words import Intent

HOLD_SECONDS = 25.0
"""How long one read of a waiting action is kept open; a longer wait is several reads."""


class Area:
    """A part of the API on one connection."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        return (await self._wire.send(Sending("GET", path, query=query)))[1]

    async def _post(self, path: str, body: Mapping[str, Json], key: str = "") -> Json:
        """Every write carries an idempotency key: one a call, kept over its retries."""
        return (await self._wire.send(Sending("POST", path, body=body, key=key or uuid.uuid4().hex)))[1]


class Sessions(Area):
    """``/v1/sessions``."""

    async def open(
        self,
        intent: Sequence[Intent],
        *,
        agent: str = "",
        incident: str = "",
        labels: Mapping[str, str] | None = None,
        key: str = "",
    ) -> Session:
        """Open a session. ``agent`` (a party id) hands it to an agent; only a human's token may do that.

        The same ``key`` with the same purpose gives the same session again.
        """
        body = {"intent": [asdict(piece) for piece in intent], "agent": agent, "incident": incident}
        return Session.model_validate(await self._post("/v1/sessions", {**body, "labels": dict(labels or {})}, key))

    async def close(self, session: str) -> None:
        """End a session before its time: nothing can be asked in it any more."""
        await self._wire.send(Sending("DELETE", f"/v1/sessions/{session}", key=uuid.uuid4().hex))


class Actions(Area):
    """``/v1/actions``: the catalog, and what became of one action."""

    async def catalog(self) -> Sequence[Mapping[str, Json]]:
        """Every action that the gate knows: name, title, effect, arguments (JSON Schema), resource types, signal."""
        return list((await self._get("/v1/actions"))["actions"])

    async def get(self, action_id: str, *, wait: float = 0.0) -> Done:
        """The result of one's own action; waits up to ``wait`` seconds for it, then raises ``ApprovalPending``.

        A review that says no raises ``Denied``; an action that failed, or whose effect is unknown, ``NotDone``.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        while True:
            left = max(0.0, until - clock())
            hold = min(left, HOLD_SECONDS)
            asked = clock()
            query = {"wait": f"{hold:.0f}"} if hold >= 1 else None
            _, body = await self._wire.send(Sending("GET", f"/v1/actions/{action_id}", query=query, hold=hold))
            if left <= 1 or body.get("status") not in {"waiting", "running"}:
                return read_action(body)
            if clock() - asked < 1:  # the gate did not hold the request: do not spin
                await asyncio.sleep(min(0.2, left))


class Observations(Area):
    """``/v1/observations``."""

    async def get(self, observation_id: str, session: str = "") -> Observation:
        """A stored result of one's own action, redacted and whole; an agent names the ``session`` in which it reads it."""
        query = {"session": session} if session else None
        return Observation.model_validate(await self._get(f"/v1/observations/{observation_id}", query))


class Approvals(Area):
    """``/v1/approvals``: for people; an agent's review is refused."""

    async def list(self, state: str = "waiting") -> Sequence[ApprovalDetail]:
        """All requests in ``state`` (``open``: not ended yet) that this person may see."""
        found: list[ApprovalDetail] = []
        after = ""
        while True:
            body = await self._get("/v1/approvals", {"state": state, **({"after": after} if after else {})})
            found += [ApprovalDetail.model_validate(item) for item in body["approvals"]]
            after = body.get("after") or ""
            if not after or not body["approvals"]:
                return found

    async def show(self, approval_id: str) -> ApprovalDetail:
        """One request with its plan, and the digest that a review must repeat."""
        return ApprovalDetail.model_validate(await self._get(f"/v1/approvals/{approval_id}"))

    async def review(
        self, approval_id: str, verdict: str, *, digest: str, reason: str = "", narrow: Mapping[str, Json] | None = None
    ) -> Review:
        """Answer ``approve`` or ``deny`` for exactly the request with ``digest``; ``narrow`` may only shrink it."""
        body: dict[str, Json] = {"verdict": verdict, "digest": digest, "reason": reason}
        body |= {"narrow": dict(narrow)} if narrow else {}
        return Review.model_validate(await self._post(f"/v1/approvals/{approval_id}/reviews", body))

    async def acknowledge(self, approval_id: str, *, digest: str, reason: str = "") -> Review:
        """Say that one has seen that exactly the request with ``digest`` runs by itself unless somebody denies it."""
        body: dict[str, Json] = {"digest": digest, "reason": reason}
        return Review.model_validate(await self._post(f"/v1/approvals/{approval_id}/acknowledgements", body))


class Policies(Area):
    """``/v1/policies``."""

    async def read(self) -> Mapping[str, Json]:
        """The active revision, the engine, and the history of activations."""
        return dict(await self._get("/v1/policies"))

    async def simulate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """What policy would decide on ``request`` (``action``, ``resource``, ``arguments``; or ``input``)."""
        return dict(await self._post("/v1/policies/simulate", request))

    async def activate(self, bundle: bytes, signature: str, *, reason: str = "", key: str = "") -> Mapping[str, Json]:
        """Propose a signed bundle; the answer is an action's, and usually waits for a second person."""
        body = {"bundle": base64.b64encode(bundle).decode(), "signature": signature, "reason": reason}
        return dict(await self._post("/v1/policies/activate", body, key))

    async def rollback(self, digest: str, *, reason: str = "", key: str = "") -> Mapping[str, Json]:
        """Propose to go back to a formerly active bundle."""
        return dict(await self._post("/v1/policies/rollback", {"digest": digest, "reason": reason}, key))


class Audit(Area):
    """``/v1/audit``: the log as an auditor reads it."""

    async def entries(
        self, *, after: int = -1, limit: int = 100, kinds: Sequence[str] = (), session: str = ""
    ) -> Sequence[Entry]:
        """Up to ``limit`` records with a sequence number above ``after``."""
        query = {"after": str(after), "limit": str(limit)}
        query |= {"kinds": ",".join(kinds)} if kinds else {}
        query |= {"session": session} if session else {}
        return [Entry.model_validate(item) for item in (await self._get("/v1/audit/entries", query))["entries"]]

    async def checkpoint(self) -> str:
        """A fresh signed checkpoint (a C2SP signed note) as text."""
        return str((await self._get("/v1/audit/checkpoint"))["checkpoint"])

    async def proof(self, seq: int) -> str:
        """The inclusion proof of record ``seq`` as C2SP tlog-proof text, under a fresh checkpoint."""
        return str((await self._get(f"/v1/audit/proof/{seq}"))["proof"])

    async def export(self, *, form: str = "jsonl", session: str = "") -> AsyncIterator[bytes]:
        """The exact leaf bytes, a page at a time; each page is whole lines.

        It ends with the records that were there when it began: reading them adds records of its own.
        """
        last = int((await self.checkpoint()).split("\n")[1]) - 1
        after = -1
        while after < last:
            page = await self._get("/v1/audit/export", {"format": form, "after": str(after), "session": session})
            if not page["entries"]:
                return
            after = int(page["after"])
            lines = base64.b64decode(page["jsonl"]).splitlines(keepends=True)
            # Without a filter every sequence number is there, so what came after the beginning can be counted.
            yield b"".join(lines if session else lines[: len(lines) - max(0, after - last)])


class Agents(Area):
    """``/v1/agents`` and the kill switch."""

    async def stopped(self) -> Sequence[Mapping[str, Json]]:
        """What is stopped now: ``{"scope","target","at"}``."""
        return list((await self._get("/v1/agents"))["stopped"])

    async def kill(self, scope: str, target: str = "", *, reason: str) -> Mapping[str, Json]:
        """Stop an ``agent``, a ``connector``, the ``tenant`` or ``all``, at once."""
        return dict(await self._post("/v1/kill", {"scope": scope, "target": target, "reason": reason}))

    async def resume(self, scope: str, target: str = "", *, reason: str) -> Mapping[str, Json]:
        """Let it work again: a decided action, refused to the one that was stopped."""
        return dict(await self._post("/v1/kill/resume", {"scope": scope, "target": target, "reason": reason}))


class Breakglass(Area):
    """``/v1/breakglass``: what two people open for a while. Each answer is one whole, as it stands then."""

    async def list(self) -> Sequence[Mapping[str, Json]]:
        """The newest, newest first."""
        return tuple((await self._get("/v1/breakglass"))["breakglass"])

    async def open(
        self,
        actions: Sequence[str],
        targets: Sequence[Mapping[str, str]],
        *,
        people: Sequence[str] = (),
        minutes: int = 0,
        reason: str,
    ) -> Mapping[str, Json]:
        """Ask for it; nothing is open until another person confirms. Targets are ``{"type", "id", "env"}``."""
        asked = {
            "actions": [*actions],
            "targets": [dict(one) for one in targets],
            "people": [*people],
            "minutes": minutes,
            "reason": reason,
        }
        return dict(await self._post("/v1/breakglass", asked))

    async def confirm(self, breakglass: str, *, reason: str) -> Mapping[str, Json]:
        """Open what somebody else asked for."""
        return dict(await self._post(f"/v1/breakglass/{breakglass}/confirm", {"reason": reason}))

    async def end(self, breakglass: str, *, reason: str) -> Mapping[str, Json]:
        """End it before its time."""
        return dict(await self._post(f"/v1/breakglass/{breakglass}/end", {"reason": reason}))

    async def review(self, breakglass: str, *, reason: str) -> Mapping[str, Json]:
        """Look back at one that is over; ``reason`` is what was found."""
        return dict(await self._post(f"/v1/breakglass/{breakglass}/review", {"reason": reason}))


class Incidents(Area):
    """``/v1/incidents``: what is wrong, what was found, and what people and agents did about it.

    An agent names the ``session`` of the incident that it works on; people need none.
    """

    async def report(self, alert: Mapping[str, Json]) -> str:
        """Report an alert (``title``, ``service``, ``env``, ``severity``, …); the id of its incident, new or live already."""
        return str((await self._post("/v1/incidents", alert))["incident"])

    async def page(self, state: str = "", after: str = "") -> IncidentPage:
        """Incidents, the newest first; ``after`` of one page asks for the next."""
        query = {name: value for name, value in (("state", state), ("after", after)) if value}
        return IncidentPage.model_validate(await self._get("/v1/incidents", query))

    async def get(self, incident: str, *, session: str = "") -> IncidentDetail:
        """All that is known of one: alert, window, events, diagnoses, topology, past traces, remedies.

        Of events and diagnoses the newest; ``events_part`` and ``diagnoses_part`` say how many there are, and where the
        rest is. ``events`` of this area reads on from there.
        """
        return IncidentDetail.model_validate(await self._read(incident, "", session))

    async def events(
        self, incident: str, *, before: str = "", after: str = "", only: str = "", session: str = ""
    ) -> EventsPart:
        """Its newest events, or those next ``before`` or ``after`` a place that an earlier part named.

        ``only``: ``acts`` for what moved the incident and what people did, ``verdicts`` for what verification found.
        """
        edges = {"before": before, "after": after, "only": only}
        return EventsPart.model_validate(await self._read(incident, "/events", session, edges))

    async def events_before(
        self, incident: str, before: str, *, only: str = "", session: str = ""
    ) -> Sequence[Mapping[str, Json]]:
        """All events before a place, in order; part by part."""
        found: list[Mapping[str, Json]] = []
        while before:
            part = await self.events(incident, before=before, only=only, session=session)
            found, before = [*part.events, *found], part.before
        return found

    async def diagnoses(self, incident: str, *, before: str = "", session: str = "") -> Mapping[str, Json]:
        """Its newest ``diagnoses``, or those next ``before`` a place; ``total`` and ``before`` say what else there is."""
        return dict(await self._read(incident, "/diagnoses", session, {"before": before}))

    async def timeline(
        self, incident: str, *, before: str = "", after: str = "", session: str = ""
    ) -> Mapping[str, Json]:
        """What happened, in order: ``entries`` with the ``actions`` that they tell of, and as ``markdown``.

        The newest of ``total``, or what is next ``before`` or ``after`` a place; both are named where there is more.
        """
        return dict(await self._read(incident, "/timeline", session, {"before": before, "after": after}))

    async def postmortem(self, incident: str, *, session: str = "") -> Mapping[str, Json]:
        """The account of a closed incident, from records only, as ``markdown``."""
        return dict(await self._read(incident, "/postmortem", session))

    async def impact(self, incident: str, *, session: str = "") -> Mapping[str, Json]:
        """What all is affected: by the topology, and by incidents that are live now."""
        return dict(await self._read(incident, "/impact", session))

    async def experts(self, incident: str, *, session: str = "") -> Mapping[str, Json]:
        """Who knows about this: owners, and who acted in incidents like it."""
        return dict(await self._read(incident, "/experts", session))

    async def event(  # noqa: PLR0913 - one keyword a field
        self, incident: str, kind: str, text: str = "", *, component: str = "", fault: str = "", session: str = ""
    ) -> Mapping[str, Json]:
        """Add a ``note``; or, as a person, ``rule_out``, ``correct``, ``take_over``, ``hand_back``, ``outside_change``, ``close``."""
        body = {"kind": kind, "text": text, "component": component, "fault": fault, "session": session}
        return dict(await self._post(f"/v1/incidents/{incident}/events", body))

    async def diagnose(  # noqa: PLR0913 - one keyword a field
        self,
        incident: str,
        *,
        cause: Mapping[str, Json],
        claims: Sequence[Mapping[str, Json]],
        ruled_out: Sequence[Mapping[str, Json]] = (),
        session: str = "",
        key: str = "",
    ) -> Diagnosis:
        """Submit claims for a cause; the gate recomputes each on its own observations and says what stands."""
        body: dict[str, Json] = {"cause": dict(cause), "claims": [dict(one) for one in claims], "session": session}
        body["ruled_out"] = [dict(one) for one in ruled_out]
        return Diagnosis.model_validate(await self._post(f"/v1/incidents/{incident}/diagnoses", body, key))

    async def _read(self, incident: str, part: str, session: str, query: Mapping[str, str] | None = None) -> Json:
        said = {name: value for name, value in {"session": session, **(query or {})}.items() if value}
        return await self._get(f"/v1/incidents/{incident}{part}", said or None)


class Work(Area):
    """``/v1/work``: claim what is due, hold it, finish it."""

    async def claim(self, kinds: Sequence[str] = ("incident",), *, hold_seconds: int = 60) -> Claimed | None:
        """What is most urgent, held by this agent for ``hold_seconds``; None where nothing is due."""
        status, body = await self._wire.send(
            Sending(
                "POST",
                "/v1/work/claim",
                body={"kinds": list(kinds), "hold_seconds": hold_seconds},
                key=uuid.uuid4().hex,
            )
        )
        return Claimed.model_validate(body) if status == httpx.codes.OK else None

    async def renew(self, claimed: Claimed, *, hold_seconds: int = 60) -> int:
        """Hold it for longer; until when. Raises ``GateError`` ``work.stale`` for a claim that somebody else has now."""
        body = {"fence": claimed.fence, "hold_seconds": hold_seconds, "session": claimed.session}
        return int((await self._post(f"/v1/work/{claimed.work}/renew", body))["until"])

    async def finish(
        self, claimed: Claimed, to: str, body: Mapping[str, Json] | None = None, *, key: str = ""
    ) -> Mapping[str, Json]:
        """End the step: the incident goes to state ``to``. Raises ``GateError`` ``work.stale`` for a lost claim."""
        said = {"fence": claimed.fence, "step": claimed.step, "to": to, "session": claimed.session}
        said["body"] = dict(body or {})
        return dict(await self._post(f"/v1/work/{claimed.work}/finish", said, key))


_KINDS: Mapping[str, type[Done | Waiting | Planned | Ended]] = {
    "done": Done,
    "waiting": Waiting,
    "running": Waiting,
    "planned": Planned,
    "failed": Ended,
    "unknown": Ended,
    "partial": Ended,
}


def read_action(body: Json) -> Done:
    """The result of an action's answer; raises ``ApprovalPending``, ``OnlyPlanned``, ``NotDone``, ``GateError``."""
    kind = _KINDS.get(str(body.get("status"))) if isinstance(body, dict) else None
    if kind is None:
        remedy = "check that the versions of client and gate fit"
        raise GateError(Problem(status=200, code="gate.answer_unreadable", detail="no known status", remedy=remedy))
    match kind.model_validate(body):
        case Done() as done:
            return done
        case Waiting() as waiting:
            raise ApprovalPending(waiting)
        case Planned() as planned:
            raise OnlyPlanned(planned)
        case Ended() as ended:
            raise NotDone(ended)
        case _:
            raise AssertionError(kind)
