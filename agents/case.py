"""One step of one incident, as an agent works on it: what the gate told, and what may be asked for.

Everything goes through the gate in the incident's own session, each request under a key made of its content
(``keys.py``). Whatever must end the step (a lost hold, a gate that does not answer, a credential that does not hold) is
raised; a read that was refused or failed is an answer of its own kind.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wicketgate import (
    Claimed,
    Diagnosis,
    Done,
    Gate,
    GateError,
    IncidentDetail,
    NotAuthenticated,
    Resource,
    Unavailable,
)

from agents.keys import key_of
from agents.rules import Facts, Query, Seen

Json = Any
Pause = Callable[[float], Awaitable[None]]
Tell = Callable[..., None]

PATIENCE_SECONDS = 60.0
"""How long one request waits for a limit or a restarting gate before this run of the step ends, to be claimed again."""
OVER = frozenset({"work.stale", "incident.transition", "incident.version"})
"""Codes that say that this step is no longer this worker's to do."""
HUMAN_KINDS = frozenset({"rule_out", "correct", "outside_change", "note", "take_over", "hand_back"})
AFRESH = frozenset({"rule_out", "correct"})
"""Those with which the gate makes a running step stale, so that the next one sees them."""
BEFORE_SECONDS = 900
"""How far before the alert an investigation looks where the incident names no beginning of its own."""


class StepOver(Exception):
    """The step is somebody else's now, or its incident went on; nothing more may be asked for in it."""


@dataclass(frozen=True)
class Offered:
    """A read that the catalog offers."""

    name: str
    title: str
    arguments: Mapping[str, Json]
    """JSON Schema of its arguments."""
    types: Sequence[str]
    """Types of the resources that it reads."""


@dataclass
class Case:
    """The step's surroundings. ``tell`` gets what happens, as ``events.py`` names it."""

    gate: Gate
    claimed: Claimed
    detail: IncidentDetail
    offered: Sequence[Offered]
    pause: Pause
    tell: Tell
    queries: int = 0
    model_calls: int = 0
    facts: Facts = field(init=False)
    """The incident as the rules see it."""
    actions: frozenset[str] = field(init=False)
    """Names of the reads."""
    _answers: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Both stand still for the whole step."""
        self.facts = facts_of(self.detail)
        self.actions = frozenset(one.name for one in self.offered)

    @property
    def id(self) -> str:
        """The incident."""
        return self.claimed.subject

    @property
    def session(self) -> str:
        """The incident's session, opened by the gate."""
        return self.claimed.session

    @property
    def observed(self) -> frozenset[str]:
        """Handles of everything that was read in this step."""
        return frozenset(seen.observation for seen in self._answers.values() if seen.observation)

    def key(self, request: Mapping[str, Json]) -> str:
        """The idempotency key of ``request``; another session is another request."""
        return key_of(self.id, self.claimed.step, {"session": self.session, **request})

    async def read(self, query: Query) -> Seen:
        """One bounded read, once each. Raises ``StepOver``, ``Unavailable``, ``NotAuthenticated``."""
        request = {"action": query.action, "resource": [query.type, query.id, query.env], "arguments": query.arguments}
        key = self.key(request)
        if key not in self._answers:
            self._answers[key] = await self._read(query, key)
        return self._answers[key]

    async def _read(self, query: Query, key: str) -> Seen:
        self.queries += 1
        try:
            done = await self.gate.act(
                query.action,
                Resource(query.type, query.id, query.env),
                query.arguments,
                reason=f"step {self.claimed.step} of incident {self.id}",
                session=self.session,
                key=key,
                patience=PATIENCE_SECONDS,
            )
        except GateError as error:
            raise_if_over(error)
            # The code alone: it is the same when the gate answers the same again.
            return Seen(query, "error", {"code": error.code})
        return await self._whole(query, done)

    async def _whole(self, query: Query, done: Done) -> Seen:
        """The answer as the gate kept it: claims are judged on the whole, so the rules look at the whole."""
        result: Mapping[str, Json] = done.result or {}
        value = result.get("value")
        if result.get("capped") and done.observation:
            try:
                value = (await self.gate.observations.get(done.observation, self.session)).value
            except GateError as error:
                raise_if_over(error)
        return Seen(query, str(result.get("status", "error")), value, done.observation or "")

    async def diagnose(self, body: Mapping[str, Json]) -> Diagnosis:
        """Have the gate judge ``{"cause", "claims", "ruled_out"}``. Raises ``StepOver``, ``GateError``."""
        said = {"cause": body["cause"], "claims": list(body["claims"]), "ruled_out": list(body.get("ruled_out", ()))}
        key = self.key({"diagnose": said})
        try:
            judged = await self.gate.incidents.diagnose(self.id, session=self.session, key=key, **said)
        except GateError as error:
            raise_if_over(error)
            raise
        claims = [dict(one) for one in judged.claims]
        self.tell("judged", diagnosis=judged.id, verdict=judged.verdict, cause=dict(body["cause"]), claims=claims)
        return judged

    async def again(self) -> IncidentDetail:
        """The incident as it stands now."""
        try:
            return await detail_of(self.gate, self.id, self.session)
        except GateError as error:
            raise_if_over(error)
            raise

    async def finish(self, to: str, body: Mapping[str, Json]) -> None:
        """End the step. Raises ``StepOver`` where it is not this worker's any more."""
        said = {**body, "queries": self.queries, "model_calls": self.model_calls}
        request = {"finish": said, "to": to, "fence": self.claimed.fence}
        try:
            await self.gate.work.finish(self.claimed, to, said, key=self.key(request))
        except GateError as error:
            raise_if_over(error)
            raise
        self.tell("finished", incident=self.id, to=to, body=said)


async def detail_of(gate: Gate, incident: str, session: str) -> IncidentDetail:
    """The incident as it stands: its newest events, and of those before all that moved it or was said by people."""
    detail = await gate.incidents.get(incident, session=session)
    before = detail.events_part.before
    earlier = await gate.incidents.events_before(incident, before, only="acts", session=session)
    return detail.model_copy(update={"events": (*earlier, *detail.events)})


def raise_if_over(error: GateError) -> None:
    """Raise what ends the step; return where the refusal is an answer that the step can go on with."""
    if error.code in OVER:
        raise StepOver(error.code) from error
    if isinstance(error, Unavailable | NotAuthenticated) or error.status == 429:
        raise error


def facts_of(detail: IncidentDetail) -> Facts:
    """An incident as the rules see it: nothing in it changes while a step runs, or from one run of it to the next."""
    incident, topology = detail.incident, detail.topology
    since, until = window(detail)
    return Facts(
        id=incident.id,
        title=incident.title,
        service=incident.service,
        env=incident.env,
        severity=incident.severity,
        since=since,
        until=until,
        alert=incident.alert,
        nodes={str(node["id"]): str(node["type"]) for node in topology.get("nodes", ())},
        edges=[(str(one), str(to)) for one, to in topology.get("edges", ())],
        memory=detail.memory,
        resolved=incident.until is not None,
    )


def window(detail: IncidentDetail) -> tuple[int, int]:
    """[since, until) in unix seconds: fixed for the whole life of a step, because it ends where this state began."""
    incident = detail.incident
    until = max(entered(detail), incident.opened_at)
    since = (incident.since or incident.opened_at) - BEFORE_SECONDS
    return since, max(until, since + BEFORE_SECONDS) + 1


def entered(detail: IncidentDetail) -> int:
    """When the incident came into its present state; 0 where no event says so."""
    return max((int(one["at"]) for one in detail.events if _came(one, detail.incident.state)), default=0)


def known(detail: IncidentDetail) -> list[Mapping[str, Json]]:
    """What had happened when this step began: one that runs again must see what it saw.

    A step begins with its state, and afresh under a number of its own with each correction of a person.
    """
    state = detail.incident.state
    began = (one for one in detail.events if _came(one, state) or one.get("kind") in AFRESH)
    last = max((int(one["seq"]) for one in began), default=0)
    return [one for one in detail.events if int(one["seq"]) <= last]


def _came(event: Mapping[str, Json], state: str) -> bool:
    """Whether ``event`` brought the incident into ``state``; most events only happened while it was there."""
    return event.get("to_state") == state and event.get("from_state") != state


def people(events: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """What people did in the incident, in order: kind, text, component and fault. A note of an agent is none."""
    found: list[Mapping[str, Json]] = []
    for event in events:
        body = event.get("body") or {}
        if event.get("kind") in HUMAN_KINDS and not body.get("machine"):
            told = {name: body[name] for name in ("text", "component", "fault") if body.get(name)}
            found.append({"kind": event["kind"], **told})
    return found


def offers(catalog: Sequence[Mapping[str, Json]]) -> list[Offered]:
    """The reads of the outside world that the catalog declares; the gate's own acts and the models are none."""
    return [
        Offered(str(one["name"]), str(one["title"]), one["arguments"], list(one["resource_types"]))
        for one in catalog
        if one["effect"] == "read" and not re.match(r"(gate|llm)\.", str(one["name"]))
    ]


def resource_text(resource: Resource) -> str:
    """``type:id@env``."""
    return "{type}:{id}@{env}".format(**asdict(resource))
