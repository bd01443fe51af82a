"""What policy must know of a request in an incident, beside what it knows of every request.

One more look at the gate's own rows, and only for requests in an incident's session: the incident and those that meet
it, the target's past, the piece of work, the diagnosis, and the catalogue's word on the action. Nothing of it is the
agent's. Preconditions are read from the target itself, through the pipeline, before policy is asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from broker.catalog import Action, Catalog
from broker.clock import Clock, seconds
from broker.errors import BrokerError, Conflict, Denied
from broker.evidence import Claim, Evidence, Observation, judge_claim, strength
from broker.model import ActionRequest, Effect, Json, Principal, ResultStatus, Session
from broker.policy.facts import CALM, NO_EVIDENCE, NO_REMEDY, NO_ROLLBACK, NO_TIME_BOX, NO_WORK, Situation
from broker.remedies.catalogue import Derived, Finding, Inventory, Times, derive, is_derived, same_target
from broker.remedies.history import DAY_S, target_facts
from broker.remedies.silence import box_facts
from broker.remedies.undo import digest_of, is_own, verifier
from broker.store import Connection, Store, writes
from broker.store import diagnoses as diagnosis_rows
from broker.store import incidents as incident_rows
from broker.store import work as work_rows
from broker.store.diagnoses import DiagnosisRow
from broker.store.incidents import Incident
from broker.store.writes import Neighbour, Write
from broker.topology import Graph, Topology

ROLLBACK_GRACE_S = 300
"""Beside the verification window: the time that the write itself took, and the carrying out of the gate's verdict."""
AGAIN_S = 20.0
OWN_TYPE = "gate"
"""What the gate's own acts are done to; they change nothing outside."""
ACTING = frozenset({"verifying", "rolling_back"})
"""States of an incident in which its write may be undone."""
BEGINNING = frozenset({"diagnosed", "proposed", "awaiting_approval", "auto_ok"})
"""States in which it may have written before the gate took its action up."""


class Look(Protocol):
    """One read of the gate's own, through the pipeline; answers the API's object, raises as the pipeline."""

    async def __call__(self, principal: Principal, **asked: Any) -> Mapping[str, Json]:
        """``asked``: the fields of an ask."""
        ...


@dataclass(frozen=True, slots=True)
class Asking:
    """How a request came: for which piece of work, after people's answers, or to undo an action of the gate's choice."""

    work: Mapping[str, Json] | None = None
    resumed: bool = False
    """People answered meanwhile; the piece of work that asked is finished."""
    undoes: str = ""
    """The action that the gate itself undoes."""
    silent: bool = False
    """Whether the end of a time box is to count as people's answer."""


@dataclass(frozen=True, slots=True)
class Around:
    """Rows around one request, from one snapshot."""

    incident: Incident | None
    others: Sequence[Neighbour] = ()
    writes: Sequence[Write] = ()
    diagnosis: DiagnosisRow | None = None
    work_valid: bool = False
    undone: Write | None = None
    box: Mapping[str, Json] = field(default_factory=lambda: NO_TIME_BOX)
    asked: Sequence[str] = ()
    """Other actions of the incident that wait, run or are not judged yet."""


class Situations:
    """Gathers ``Situation``; keeps the rows of writes in incidents."""

    def __init__(  # noqa: PLR0913 - one collaborator a kind of fact
        self,
        *,
        store: Store,
        clock: Clock,
        topology: Topology,
        evidence: Evidence,
        catalog: Callable[[], Catalog],
        inventory: Inventory,
        times: Callable[[Action], Times],
    ) -> None:
        """``catalog()`` is that of the active bundle; ``times(action)`` says when a remedy is measured."""
        self._store = store
        self._clock = clock
        self._topology = topology
        self._evidence = evidence
        self._catalog = catalog
        self._inventory = inventory
        self._times = times

    async def of(  # noqa: PLR0913 - one argument a source
        self,
        principal: Principal,
        session: Session | None,
        request: ActionRequest,
        action: Action | None,
        *,
        asking: Asking,
        look: Look,
    ) -> Situation:
        """The situation of ``request``; ``CALM`` outside of an incident.

        Raises ``Conflict``: ``work.stale`` for a write with a piece of work that is not the caller's any more,
        ``incident.acted`` for one beside another that the incident has asked for, under whatever identity.
        """
        if session is None or not session.incident:
            return CALM
        writing = action is None or action.effect is Effect.WRITE
        around = await self._store.glance(lambda c: self._around(c, principal, session, request, asking, writing))
        if around.incident is None:
            return CALM
        graph = self._topology.graph(principal.tenant, around.incident.env)
        incident = _incident(around.incident, around.others, graph, request)
        if not writing or action is None:
            return Situation(incident=incident)
        if asking.work is not None and not around.work_valid:
            raise stale()
        if around.asked and not asking.resumed and not _aside(principal, request):
            raise acted(around.asked[0])
        dependents = graph.dependents(request.resource.id)
        now = seconds(self._clock)
        remedy, evidence = await self._remedy(around, graph, action, request, look)
        return Situation(
            remedy=remedy,
            evidence=evidence,
            incident=incident,
            target=target_facts(around.writes, action=request.action, dependents=dependents, now=now),
            work={"given": True, "valid": True} if asking.resumed or asking.work is not None else NO_WORK,
            rollback=self._rollback(around, principal, request) if asking.undoes else NO_ROLLBACK,
            time_box=around.box,
        )

    async def begin(
        self,
        principal: Principal,
        session: Session | None,
        request: ActionRequest,
        undo: Mapping[str, Json] | None,
        run: str,
    ) -> None:
        """Put down a write in an incident before it happens, with the request that undoes it, for this ``run`` of it.

        Its targets are held by now. What happened after policy was asked counts: raises ``Denied``
        (``incident.wrong_state``) where the incident does not stand on the cited diagnosis any more, or a person has it,
        and ``Conflict``: ``incident.conflict`` where another incident wrote near the targets, ``action.running`` where
        another run of this action is on its way.
        """
        if session is None or not self._counts(principal, session, request):
            return
        resource = {"type": request.resource.type, "id": request.resource.id, "env": request.resource.env}
        plan: dict[str, Json] = {
            "resource": resource,
            "session": request.session,
            "undo": dict(undo) if undo else None,
            "digest": digest_of(undo),
            "run": run,
        }
        row = Write(
            tenant=request.tenant,
            env=request.resource.env,
            target=request.resource.id,
            action_id=request.id,
            action=request.action,
            incident=session.incident,
            at=seconds(self._clock),
            outcome="",
            plan=plan,
        )
        graph = self._topology.graph(request.tenant, request.resource.env)
        reach = {request.resource.id, *graph.dependents(request.resource.id)}
        near = reach.union(*(graph.dependencies(name) for name in reach))

        def begun(connection: Connection) -> str:
            stands = incident_rows.find(connection, row.tenant, row.incident, lock="wait")
            if request.diagnosis and not _still_on(stands, request):
                raise moved()
            return writes.begin(connection, row, near)

        why = await self._store.write(begun, durable=False)
        if why == "held":
            raise _overtaken(AGAIN_S)
        if why:
            raise Conflict(
                "another incident has just written near this target",
                code="incident.conflict",
                remedy="send the request again after the seconds in Retry-After",
                retry_after=AGAIN_S,
            )

    async def intended(self, principal: Principal, session: Session | None, request: ActionRequest, run: str) -> None:
        """The intent is on record: the write is this run's from now on. Raises ``Conflict`` where it is another's."""
        if not self._counts(principal, session, request):
            return
        place = (request.tenant, request.resource.env, request.id)
        if not await self._store.write(lambda c: writes.intend(c, *place, run), durable=False):
            raise _overtaken(None)

    async def close(self, session: Session | None, request: ActionRequest, run: str = "") -> None:
        """Put down that a write did not happen: it failed, or this ``run`` of it goes no further.

        What did happen is judged by verification.
        """
        if session is None or not session.incident:
            return
        place = (request.tenant, request.resource.env, request.id)
        if run:
            await self._store.write(lambda c: writes.let_go(c, *place, run), durable=False)
        else:
            await self._store.write(lambda c: writes.close(c, request.tenant, request.id, "failed"), durable=False)

    def _counts(self, principal: Principal, session: Session | None, request: ActionRequest) -> bool:
        """Whether this is a write in an incident that the gate follows."""
        return session is not None and bool(session.incident) and not _aside(principal, request)

    def _around(  # noqa: PLR0913, PLR0917 - one argument a part of the question
        self,
        connection: Connection,
        principal: Principal,
        session: Session,
        request: ActionRequest,
        asking: Asking,
        writing: bool,
    ) -> Around:
        tenant, now = principal.tenant, seconds(self._clock)
        found = incident_rows.find(connection, tenant, session.incident)
        if found is None:
            return Around(None)
        row = diagnosis_rows.find(connection, tenant, request.diagnosis) if request.diagnosis else None
        return Around(
            incident=found,
            others=writes.neighbours(connection, tenant, found.env, found.id),
            writes=writes.recent(connection, tenant, request.resource.env, request.resource.id, now - DAY_S),
            # Only the one that the incident stands on: what a person corrected since counts no more.
            diagnosis=row if row is not None and row.id == found.diagnosis else None,
            work_valid=asking.work is not None and _holds_work(connection, principal, found, asking.work, now),
            undone=writes.find(connection, tenant, asking.undoes) if asking.undoes else None,
            box=box_facts(connection, tenant, request.id, now, silent=asking.silent) if writing else NO_TIME_BOX,
            asked=[one for one in writes.asked_in(connection, tenant, found.id) if one != request.id]
            if writing
            else [],
        )

    async def _remedy(
        self, around: Around, graph: Graph, action: Action, request: ActionRequest, look: Look
    ) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
        """The catalogue's word on the request, and the evidence behind it."""
        assert around.incident is not None
        evidence: dict[str, Json] = {**NO_EVIDENCE}
        if around.diagnosis is not None:
            evidence |= await self._evidence.facts(request.tenant, request.session, request.diagnosis, request.resource)
        if action.remedy is None:
            return NO_REMEDY, evidence
        derived = self._derived(around, graph, action)
        if derived is not None and around.diagnosis is not None and same_target(request, derived):
            evidence |= {"matches": True, **strength(around.diagnosis)}
        conditions = action.remedy.get("preconditions", ())
        # A request that is refused for its evidence anyhow asks nothing of the target.
        proven = evidence["verdict"] == "diagnosed"
        ready = proven and all([await self._holds(request, condition, look) for condition in conditions])
        return {
            "known": True,
            "faults": list(action.remedy["faults"]),
            "derived": derived is not None and is_derived(self._catalog(), action, request, derived),
            "ready": ready or not conditions,
            "cooldown_s": action.remedy["cooldown_s"],
            "per_hour_max": action.remedy["per_hour_max"],
        }, evidence

    async def _holds(self, request: ActionRequest, condition: Mapping[str, Any], look: Look) -> bool:
        """Whether a claim holds on the target now; what cannot be read does not hold."""
        resource = {"type": request.resource.type, "id": request.resource.id, "env": request.resource.env}
        try:
            seen = await look(
                verifier(request.tenant, self._clock),
                action=condition["action"],
                resource=resource,
                arguments=condition["arguments"],
                session=request.session,
                reason=f"precondition of {request.id}",
            )
        except BrokerError:
            return False
        claim = Claim("", condition["selector"], condition["op"], condition["value"])
        return judge_claim(claim, seen_as(self._catalog(), condition["action"], seen)).verdict == "verified"

    def _derived(self, around: Around, graph: Graph, action: Action) -> Derived | None:
        """What the catalogue makes of the cited diagnosis."""
        if around.diagnosis is None or around.incident is None:
            return None
        return derive(action, finding_of(around.incident, around.diagnosis), graph, self._inventory)

    def _rollback(self, around: Around, principal: Principal, request: ActionRequest) -> Mapping[str, Json]:
        """Whether the gate's own request is the undoing that was bound to the write, and is still in time."""
        undone, incident = around.undone, around.incident
        if undone is None or incident is None or not is_own(principal):
            return NO_ROLLBACK
        done = self._catalog().find(undone.action)
        undo: Mapping[str, Any] | None = undone.plan["undo"]
        bound = undo is not None and digest_of(undo) == undone.plan["digest"] and self._is(request, undo)
        here = undone.incident == incident.id and incident.state in ACTING
        valid = bound and here and done is not None and done.remedy is not None and self._in_time(undone, done)
        return {"of": undone.action_id, "valid": valid}

    def _is(self, request: ActionRequest, undo: Mapping[str, Any]) -> bool:
        """Whether ``request`` is exactly ``undo``, defaults filled in."""
        asked = {"type": request.resource.type, "id": request.resource.id, "env": request.resource.env}
        if (request.action, asked) != (undo["action"], dict(undo["resource"])):
            return False
        return self._catalog().complete(request.action, request.resource, undo["arguments"]) == dict(request.arguments)

    def _in_time(self, undone: Write, done: Action) -> bool:
        """Whether the window in which the write may be undone still stands."""
        times = self._times(done)
        return seconds(self._clock) <= undone.at + times.settle + times.window + times.interval + ROLLBACK_GRACE_S


def finding_of(incident: Incident, diagnosis: DiagnosisRow | None) -> Finding:
    """What remedies are derived from."""
    return Finding(
        tenant=incident.tenant,
        env=incident.env,
        service=incident.service,
        component=diagnosis.component if diagnosis else "",
        fault=diagnosis.fault if diagnosis else "",
        claims=diagnosis.claims if diagnosis else (),
    )


def seen_as(catalog: Catalog, action: str, answer: Mapping[str, Any]) -> Observation:
    """The pipeline's answer to a read as claims see it."""
    return Observation(
        id=answer["observation"],
        action=action,
        connector=catalog.action(action).connector,
        signal=catalog.action(action).signal,
        resource={},
        arguments={},
        at=0,
        status=ResultStatus(answer["result"]["status"]),
        value=answer["result"]["value"],
    )


def moved() -> Denied:
    """Build the answer to a request whose incident went another way while it was decided."""
    return Denied(
        "the incident does not stand on that diagnosis any more",
        code="incident.wrong_state",
        remedy="read the incident and decide again",
    )


def _overtaken(retry_after: float | None) -> Conflict:
    """Build the answer to one of two runs of the same action: the other one has it."""
    return Conflict(
        "another run of this action is on its way",
        code="action.running",
        remedy="ask GET /v1/actions/{id} for its outcome",
        retry_after=retry_after,
    )


def acted(action_id: str) -> Conflict:
    """Build the answer to a second action of one incident."""
    return Conflict(
        f"the incident has asked for `{action_id}` already",
        code="incident.acted",
        remedy="finish the step as `proposed`, naming that action",
    )


def _aside(principal: Principal, request: ActionRequest) -> bool:
    """Whether the request is no remedy: the gate's own, or about the gate itself."""
    return is_own(principal) or request.resource.type == OWN_TYPE


def _still_on(stands: Incident | None, request: ActionRequest) -> bool:
    """Whether the incident stands on the cited diagnosis, and waits for this action or for none that it named."""
    if stands is None or stands.state not in BEGINNING | {"leased"}:
        return False
    return stands.diagnosis == request.diagnosis and stands.action_id in {"", request.id}


def stale() -> Conflict:
    """Build the answer to a worker whose piece of work is somebody else's by now."""
    return Conflict(
        "this piece of work is not held under that fence any more",
        code="work.stale",
        remedy="stop; claim again and start its step afresh",
    )


def _holds_work(
    connection: Connection, principal: Principal, incident: Incident, work: Mapping[str, Json], now: int
) -> bool:
    """Whether the caller holds the incident's own step under this fence."""
    id_, fence = work.get("id"), work.get("fence")
    if not isinstance(id_, str) or not isinstance(fence, int) or isinstance(fence, bool):
        return False
    row = work_rows.find(connection, principal.tenant, id_)
    return row is not None and row.incident == incident.id and row.held_by(principal.acting.id, fence, now)


def _incident(stands: Incident, others: Sequence[Neighbour], graph: Graph, request: ActionRequest) -> dict[str, Json]:
    """``context.incident``: where it is, and who meets it on the target or on a dependent."""
    target = request.resource.id
    reach = {target, *graph.dependents(target)}
    met = []
    for other in others:
        about = {other.service, other.component} - {""}
        theirs = about.union(*(graph.dependents(name) for name in about))
        same = target in about
        if same or reach & theirs:
            met.append(
                {
                    "severity": other.severity,
                    "same_target": same,
                    "dependent": not same,
                    "older": (other.opened_at, other.id) < (stands.opened_at, stands.id),
                    # It has begun, whatever its state says until the gate has taken its action up.
                    "state": "executing" if other.written and other.state in BEGINNING else other.state,
                }
            )
    return {
        "id": stands.id,
        "state": stands.state,
        "severity": stands.severity,
        "env": stands.env,
        "others": met,
    }
