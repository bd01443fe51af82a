"""Incidents: alerts come in, agents and the gate take steps, people act, and all of it can be told.

Every method that changes something is one transaction: the state, the event of it, and the work that is due after.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from broker.clock import Clock, seconds
from broker.config import IncidentSettings
from broker.errors import BadRequest, Conflict, LimitExceeded, NotFound
from broker.incidents import alert as alerts
from broker.incidents import impact, pages, traces
from broker.incidents.alert import Alert
from broker.incidents.excluded import is_excluded
from broker.incidents.intake import Flooded, Intake, intake_lock
from broker.incidents.steps import Steps
from broker.incidents.story import Recorded, Story
from broker.model import Json, Session
from broker.sessions import Opening, Sessions
from broker.store import Connection, Store, diagnoses, writes
from broker.store import incidents as rows
from broker.store import traces as trace_rows
from broker.store import work as work_rows
from broker.store.diagnoses import DiagnosisRow
from broker.store.incidents import Event, Incident
from broker.store.rows import Page, Part, Place, Span
from broker.topology import Graph, Topology
from broker.work import AGENTS_KIND, Claimed, held, settle, stale

T = TypeVar("T")
Facts = Sequence[Mapping[str, Json]]
"""Actions of an incident on record, oldest first: ``{"action_id", "observation", "action", "resource", "arguments",
"effect", "status", "at", "by", "outcome"?}``; redacted, as the log has them."""
TRACES_READ = 500
ACTS_READ = 2_000
EVENTS_READ = 500
DIAGNOSES_READ = 20
"""Of one page of a post-mortem."""
SEVERAL = frozenset({"linked", "closed"})
"""Steps that change other incidents, too."""


class Incidents:
    """All incidents, for all replicas that share ``store``."""

    def __init__(
        self, store: Store, clock: Clock, sessions: Sessions, topology: Topology, settings: IncidentSettings
    ) -> None:
        """Keep incidents in ``store``; ``sessions`` shapes the session of each."""
        self._store = store
        self._clock = clock
        self._sessions = sessions
        self._topology = topology
        self._settings = settings

    async def receive(self, tenant: str, alert: Alert, *, by: str) -> Incident | None:
        """Take one alert in: count it, end or link its incident, or open one with its session and its first step.

        None only for the end of an alert of which nothing is known. Raises ``BadRequest`` (``alert.field``),
        ``LimitExceeded`` (``incident.flood``), which is counted in an incident of the gate's own. The texts of ``alert``
        have been redacted; ``by`` is its sender.
        """
        whole, cut = alerts.bounded(replace(alert, sender=by), seconds(self._clock), self._settings.past_seconds)
        found = await self._store.write(lambda c: self._intake(c, tenant, by).receive(whole, cut))
        if isinstance(found, Flooded):
            raise _flood(found.why)
        return found

    async def get(self, tenant: str, incident_id: str) -> Incident:
        """Return one incident; raises ``NotFound`` for one of another tenant, too."""
        found = await self._store.read(lambda c: rows.find(c, tenant, incident_id))
        if found is None:
            raise _absent()
        return found

    async def page(
        self, tenant: str, states: Collection[str] = (), *, after: str = "", limit: int = 50
    ) -> Page[Incident]:
        """One page of the tenant's incidents, newest first; ``states`` empty means all."""
        return await self._store.read(lambda c: rows.page(c, tenant, states, limit, after))

    async def events(self, tenant: str, incident_id: str, *, after: int = 0) -> list[Event]:
        """Events in order, after the number ``after``; raises ``NotFound``."""
        return await self._about(tenant, incident_id, lambda c, _: rows.events(c, tenant, incident_id, after))

    async def events_part(self, tenant: str, incident_id: str, span: Span, *, only: str = "") -> Part[Event]:
        """The part of the events that ``span`` (``pages.span``) asks for; ``only`` as ``rows.ONLY``. Raises ``NotFound``."""
        return await self._about(
            tenant, incident_id, lambda c, _: rows.event_part(c, tenant, incident_id, span, only=only)
        )

    async def excluded(self, tenant: str, incident_id: str) -> Callable[[str, str], bool]:
        """Answer for a component and a fault whether people excluded that cause here; raises ``NotFound``."""
        events, found = await self._about(tenant, incident_id, self._history)
        return lambda component, fault: is_excluded(events, found, component, fault)

    async def asked(self, tenant: str, incident_id: str) -> str:
        """The action of the incident that waits for people, runs, or is not judged yet; empty for none."""
        return next(iter(await self._store.read(lambda c: writes.asked_in(c, tenant, incident_id))), "")

    async def linked(self, tenant: str, incident_id: str) -> list[Incident]:
        """Incidents that are linked into this one; raises ``NotFound``."""
        return await self._about(tenant, incident_id, lambda c, _: rows.merged(c, tenant, incident_id))

    async def advance(  # noqa: PLR0913 - one keyword a condition
        self,
        tenant: str,
        incident_id: str,
        *,
        to: str,
        by: str,
        body: Mapping[str, Json] | None = None,
        version: int | None = None,
        claimed: Claimed | None = None,
    ) -> Incident:
        """Take a step that the gate or a person decided; the only way to change a state but for ``finish`` and ``note``.

        With ``version`` only if nothing happened since; with ``claimed`` only if that step is still held. Raises
        ``Conflict``: ``incident.transition``, ``incident.version``, ``work.stale``, ``incident.diagnosis``,
        ``incident.unrelated``; ``BadRequest`` (``incident.step``) where ``body`` lacks what the step needs.
        """

        def advanced(connection: Connection) -> Incident:
            stands = self._locked(connection, tenant, incident_id, several=to in SEVERAL)
            if version is not None and stands.version != version:
                raise _changed()
            if claimed is not None:
                self._settled(connection, claimed, stands)
            return self._steps(connection, tenant, by).advance(stands, to, by, body or {})

        return await self._store.write(advanced)

    async def finish(  # noqa: PLR0913 - one keyword a part of the proof
        self,
        tenant: str,
        work_id: str,
        *,
        holder: str,
        fence: int,
        step: int,
        to: str,
        by: str,
        body: Mapping[str, Json] | None = None,
    ) -> Incident:
        """End an agent's step: compare-and-set on (id, step, fence), the transition, its event and the next step.

        Raises as ``advance``, and ``Denied`` (``incident.not_agents``) for a step that is not an agent's.
        """

        def finished(connection: Connection) -> Incident:
            now = seconds(self._clock)
            row = held(connection, tenant, work_id, holder=holder, fence=fence, now_s=now)
            stands = self._locked(connection, tenant, row.incident, several=to in SEVERAL)
            row = held(connection, tenant, work_id, holder=holder, fence=fence, now_s=now, lock=True)
            if row.step != step or row.kind != AGENTS_KIND:
                raise stale()
            return self._steps(connection, tenant, by).agents_step(stands, to, by, body or {})

        return await self._store.write(finished)

    async def note(
        self, tenant: str, incident_id: str, *, kind: str, by: str, body: Mapping[str, Json] | None = None
    ) -> Event:
        """Put down what somebody says or does; the next step sees it.

        Kinds that move the incident are people's: ``take_over`` holds it, ``hand_back`` lets it go on (``body.to``),
        ``correct`` withdraws the diagnosis. Raises ``Conflict`` (``incident.transition``, ``incident.held``), ``LimitExceeded`` (``incident.events``).
        """

        def noted(connection: Connection) -> Event:
            stands = self._locked(connection, tenant, incident_id)
            return self._steps(connection, tenant, by).note(stands, kind, by, body or {})

        return await self._store.write(noted)

    async def learn(self, claimed: Claimed, *, actions: Facts = ()) -> Incident:
        """Close an incident that is over and keep its trace, in one transaction; raises ``Conflict``."""

        def learned(connection: Connection) -> Incident:
            tenant = claimed.tenant
            stands = self._locked(connection, tenant, claimed.incident, several=True)
            self._settled(connection, claimed, stands)
            steps = self._steps(connection, tenant, "gate")
            if stands.state != "learning":
                stands = steps.advance(stands, "learning", "gate", {})
            events = rows.events(connection, tenant, stands.id)
            found = diagnoses.of_incident(connection, tenant, stands.id)
            written = trace_rows.writes(connection, tenant, stands.id)
            trace = traces.trace_of(
                stands, events=events, diagnoses=found, writes=written, actions=actions, at=seconds(self._clock)
            )
            trace_rows.keep(connection, trace)
            told = {"outcome": trace.outcome, "component": trace.component, "fault": trace.fault}
            return steps.advance(stands, "closed", "gate", told)

        return await self._store.write(learned)

    async def impact(self, tenant: str, incident_id: str) -> dict[str, Json]:
        """Answer "what all is affected"; raises ``NotFound``. Shape: ``impact.impact_of``."""
        return await self._about(tenant, incident_id, self._impact)

    async def experts(self, tenant: str, incident_id: str) -> list[dict[str, Json]]:
        """Answer "who is the expert here", best first; raises ``NotFound``. Shape: ``impact.experts_of``."""

        def asked(connection: Connection, stands: Incident) -> list[dict[str, Json]]:
            found = diagnoses.find(connection, tenant, stands.diagnosis) if stands.diagnosis else None
            component = found.component if found else ""
            services = [name for name in (stands.service, component) if name]
            acts = rows.acts_of_people(connection, tenant, services, impact.ACTS, ACTS_READ)
            return impact.experts_of(stands, self._graph(stands), component, acts)

        return await self._about(tenant, incident_id, asked)

    async def similar(  # noqa: PLR0913 - one keyword a trait
        self, tenant: str, *, fingerprint: str, service: str, env: str = "", fault: str = "", limit: int = 5
    ) -> list[dict[str, Json]]:
        """Past traces of this fingerprint, service or fault, best first (see ``traces.ranked``)."""
        now = seconds(self._clock)
        found = await self._store.read(lambda c: trace_rows.near(c, tenant, fingerprint, [service], fault, TRACES_READ))
        return traces.ranked(
            found, fingerprint=fingerprint, service=service, env=env, fault=fault, now_s=now, limit=limit
        )

    async def timeline(  # noqa: PLR0913 - one keyword an edge of the part
        self,
        tenant: str,
        incident_id: str,
        *,
        recorded: Recorded | None = None,
        before: str = "",
        after: str = "",
        limit: int = pages.ENTRIES_MAX,
    ) -> dict[str, Json]:
        """One part of everything that happened, in order (``pages.timeline_part``, and ``total``); raises ``NotFound``.

        Of the actions only those of this part are held and read whole, however many there are.
        """
        wanted = pages.span(before, after, limit, 3)
        nearest = pages.Nearest(wanted)
        actions: list[Mapping[str, Json]] = []
        if recorded is not None:
            async for outline in recorded.outlines():
                nearest.add(outline)
            actions = [await recorded.whole(outline) for outline in nearest.held()]

        def asked(
            connection: Connection, stands: Incident
        ) -> tuple[int, Part[Event], tuple[Place, Place] | None, list[DiagnosisRow]]:
            mine = (connection, tenant, stands.id)
            found = rows.event_part(*mine, pages.events_span(wanted), by_time=True)
            return stands.version, found, rows.event_ends(*mine), diagnoses.of_incident(*mine)

        version, found, ends, judged = await self._about(tenant, incident_id, asked)
        told = pages.timeline_part(wanted, found.items, ends, judged, actions, nearest)
        return {**told, "total": version + len(judged) + nearest.count}

    async def postmortem(self, tenant: str, incident_id: str, *, recorded: Recorded | None = None) -> dict[str, Json]:
        """The whole story as facts and as ``markdown``, read in pages (``story``); raises ``NotFound``."""
        stands, reached = await self._about(tenant, incident_id, lambda c, found: (found, self._impact(c, found)))
        story = Story(stands)
        number = 0
        while number < stands.version:
            page = await self._store.read(
                partial(rows.events, tenant=tenant, incident_id=stands.id, after=number, most=EVENTS_READ)
            )
            story.events(event for event in page if event.seq <= stands.version)
            number = page[-1].seq
        wanted: Span | None = Span(DIAGNOSES_READ, pages.BYTES_MAX)
        while wanted:
            part = await self._store.read(partial(diagnoses.part, tenant=tenant, incident_id=stands.id, span=wanted))
            story.diagnoses(part.items)
            wanted = replace(wanted, before=part.before) if part.before else None
        if recorded is not None:
            async for outline in recorded.outlines():
                story.action(outline)
        return await story.told(reached, recorded)

    async def unrecorded(self, tenant: str = "", incident_id: str = "", *, most: int = 200) -> list[Event]:
        """Events that the log does not have yet, each incident's in order; nothing of it is due before."""
        return await self._store.read(lambda c: rows.unrecorded(c, most, tenant, incident_id))

    async def recorded(self, tenant: str, event_id: str) -> None:
        """Mark an event whose record is durable; again changes nothing."""
        incident_id, _, number = event_id.rpartition(".")
        if not incident_id or not number.isascii() or not number.isdigit() or len(number) > 15:
            raise BadRequest("field `event` is no event's id", code="incident.event")
        await self._store.write(lambda c: rows.recorded(c, tenant, incident_id, int(number)))

    async def _about(self, tenant: str, incident_id: str, read: Callable[[Connection, Incident], T]) -> T:
        """Read something of one incident, on one snapshot."""

        def asked(connection: Connection) -> T:
            stands = rows.find(connection, tenant, incident_id)
            if stands is None:
                raise _absent()
            return read(connection, stands)

        return await self._store.read(asked)

    def _locked(self, connection: Connection, tenant: str, incident_id: str, *, several: bool = False) -> Incident:
        """The incident with its row held until the end; ``several`` where others change with it."""
        if several:
            intake_lock(connection, tenant)
        stands = rows.find(connection, tenant, incident_id, lock="wait")
        if stands is None:
            raise _absent()
        return stands

    def _settled(self, connection: Connection, claimed: Claimed, stands: Incident) -> None:
        """Hold the claimed step until the end; it must be the incident's own."""
        row = settle(connection, claimed, seconds(self._clock))
        if row.tenant != stands.tenant or row.id != work_rows.id_of_incident(stands.id):
            raise stale()

    def _history(self, connection: Connection, stands: Incident) -> tuple[list[Event], list[DiagnosisRow]]:
        """Events and diagnoses in order."""
        return (
            rows.events(connection, stands.tenant, stands.id),
            diagnoses.of_incident(connection, stands.tenant, stands.id),
        )

    def _impact(self, connection: Connection, stands: Incident) -> dict[str, Json]:
        graph = self._graph(stands)
        reached = {*graph.upstream(stands.service), *graph.downstream(stands.service)}
        live = rows.live(connection, stands.tenant, stands.env, reached)
        return impact.impact_of(stands, graph, live, rows.merged(connection, stands.tenant, stands.id))

    def _graph(self, stands: Incident) -> Graph:
        return self._topology.graph(stands.tenant, stands.env)

    def _intake(self, connection: Connection, tenant: str, by: str) -> Intake:
        def session_of(incident_id: str, alert: Alert) -> Session:
            return self._sessions.draft_for_incident(
                tenant,
                Opening(
                    intent=alerts.intent(alert),
                    lifetime_s=self._settings.session_seconds,
                    incident=incident_id,
                    budgets={"actions": self._settings.actions_max, "tokens": self._settings.tokens_max},
                ),
            )

        return Intake(connection, tenant, self._topology, self._settings, session_of, by, now_s=seconds(self._clock))

    def _steps(self, connection: Connection, tenant: str, by: str) -> Steps:
        return Steps(connection, self._intake(connection, tenant, by))


def _absent() -> NotFound:
    """Build the one answer for an incident that is not there for the asker."""
    return NotFound("there is no such incident", code="incident.not_found", remedy="check the incident's id")


def _flood(why: str) -> LimitExceeded:
    """Build the answer to one alert too many."""
    return LimitExceeded(
        why,
        code="incident.flood",
        remedy="close what is done, mend the alert that repeats, or ask the operator for a larger `incidents.open_max`",
        retry_after=60.0,
    )


def _changed() -> Conflict:
    """Build the answer to a step that was decided on an older state."""
    return Conflict(
        "the incident changed meanwhile", code="incident.version", remedy="read the incident and decide again"
    )
