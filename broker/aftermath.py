"""What comes after an agent's last step: the gate follows its action, measures, undoes what did not help, and calls people.

Everything here is derived from rows and records, so that it can be begun again at any point, by any replica: a state
moves by compare-and-set, samples are reads under keys of their own, an undoing is one action that the log takes once.
Times that decide are compared at use; nothing waits in memory.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.approvals import Proposal
from broker.catalog import Action, Catalog
from broker.clock import Clock, seconds
from broker.errors import BrokerError, Conflict, Unavailable
from broker.incidents import Event, Incident, Incidents
from broker.model import Json
from broker.pipeline import Pipeline
from broker.reading import Ask
from broker.records import Records
from broker.remedies import Level, Times, Verdict, judge, verifier
from broker.remedies.measure import Measuring, Spot
from broker.remedies.verdict import LASTING, level_of, shown
from broker.store import Connection, Store, writes
from broker.store import approvals as proposal_rows
from broker.store import diagnoses as diagnosis_rows
from broker.store.diagnoses import DiagnosisRow
from broker.store.writes import Write
from broker.telemetry import Telemetry
from broker.topology import Topology
from broker.work import Claimed, Work

BY = "gate"
POLL_S = 2
"""So often an action that waits for people, or runs, is looked at again."""
NOT_BEGUN_S = 300
"""So long after its row a remedy without an intent has not begun, and never will: who wrote the row has died since."""
STEPS_MAX = 12
"""More states than an incident has between its agent's last step and its end."""
KINDS = ("baseline", "follow", "verify", "rollback")
UNDOABLE = frozenset({"done", "partial", "unknown"})
"""How an action may have ended whose effect is measured."""
Facts = Callable[[str, str], Awaitable[Sequence[Mapping[str, Json]]]]


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, and what its event says."""

    to: str
    body: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for so many seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the rows say of an incident's action, from one snapshot."""

    proposal: Proposal | None
    asked_in: str
    """The incident in whose session the proposal was made."""
    write: Write | None
    diagnosis: DiagnosisRow | None


class Aftermath:
    """Follows, verifies and undoes remedies."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        pipeline: Pipeline,
        incidents: Incidents,
        work: Work,
        records: Records,
        store: Store,
        topology: Topology,
        measuring: Measuring,
        catalog: Callable[[], Catalog],
        times: Callable[[Action], Times],
        facts: Facts,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        """``times(action)`` says when a remedy is measured; ``facts(tenant, incident)`` are its actions on record."""
        self._pipeline = pipeline
        self._incidents = incidents
        self._work = work
        self._records = records
        self._store = store
        self._topology = topology
        self._measuring = measuring
        self._catalog = catalog
        self._times = times
        self._facts = facts
        self._clock = clock
        self._telemetry = telemetry

    async def baseline(self, claimed: Claimed) -> None:
        """Measure before the agent may act, then let it go on."""
        stands = await self._incidents.get(claimed.tenant, claimed.incident)
        await self._measure_before(stands)
        await self._work.pass_on(claimed)

    async def follow(self, claimed: Claimed) -> None:
        """Do what is due for an incident whose action was asked for."""
        delay = await self.settle(claimed.tenant, claimed.incident, claimed)
        if delay is not None:
            with suppress(Conflict):
                await self._work.postpone(claimed, delay)

    async def learn(self, claimed: Claimed) -> None:
        """Close an incident that is over, with its trace."""
        await self._incidents.learn(claimed, actions=await self._facts(claimed.tenant, claimed.incident))

    async def before(self, proposal: Proposal) -> None:
        """Measure right before an approved action of an incident runs: people take their time."""
        incident = await self._incident_of(proposal)
        if incident:
            stands = await self._incidents.get(proposal.tenant, incident)
            with suppress(BrokerError):
                await self._measure_before(stands)

    async def refused(self, proposal: Proposal, code: str) -> None:
        """Put down why an approved action of an incident did not run."""
        incident = await self._incident_of(proposal)
        if incident:
            body = {"action_id": proposal.action_id, "action": proposal.action, "refused": code}
            with suppress(BrokerError):
                await self._incidents.note(proposal.tenant, incident, kind="action", by=BY, body=body)

    async def settle(self, tenant: str, incident: str, claimed: Claimed | None = None) -> int | None:
        """Take the incident as far as rows and records allow; again changes nothing.

        Returns the seconds after which to look again; None where it is not the gate's turn any more.
        """
        for _ in range(STEPS_MAX):
            stands = await self._incidents.get(tenant, incident)
            step = await self._next(stands)
            if step is None or isinstance(step, Wait):
                return step.seconds if step else None
            try:
                await self._incidents.advance(
                    tenant, incident, to=step.to, by=BY, body=step.body, version=stands.version, claimed=claimed
                )
            except Conflict as conflict:
                if conflict.error_code != "incident.version":
                    return None
            else:
                self._telemetry.event("incident.advanced", state=step.to)
                claimed = None
        return POLL_S

    async def _next(self, stands: Incident) -> Step | Wait | None:  # noqa: PLR0911 - one a state
        """What is due in this state."""
        match stands.state:
            case "proposed":
                return self._taken_up(stands, await self._known(stands))
            case "awaiting_approval":
                return await self._answered(stands, await self._known(stands))
            case "auto_ok":
                return Step("leased", {"action_id": stands.action_id})
            case "leased":
                return Step("executing", {"action_id": stands.action_id})
            case "executing":
                return await self._ended(stands, await self._known(stands))
            case "verifying":
                return await self._verified(stands, await self._known(stands))
            case "rolling_back":
                return await self._undone(stands, await self._known(stands))
            case "rolled_back":
                return Step("escalated", {"reason": "remedy.undone", "action_id": stands.action_id})
            case _:
                return None

    # -- the action -------------------------------------------------------------------------------------------------

    def _taken_up(self, stands: Incident, known: Known) -> Step:
        """The action that the agent named: it waits, or it ran; anything else is no action of this incident."""
        here = {"action_id": stands.action_id}
        if known.proposal is not None and known.asked_in == stands.id:
            return Step("awaiting_approval", here | {"approval": known.proposal.id})
        if known.write is not None and known.write.incident == stands.id:
            return Step("awaiting_approval" if known.proposal else "auto_ok", here)
        return Step("escalated", here | {"reason": "action.unknown"})

    async def _answered(self, stands: Incident, known: Known) -> Step | Wait:
        """People answered, or did not."""
        here: dict[str, Json] = {"action_id": stands.action_id}
        state = known.proposal.at(seconds(self._clock)).state if known.proposal else "cancelled"
        if state in {"waiting", "approved"}:
            return Wait(POLL_S)
        if state in {"denied", "expired", "cancelled"}:
            refused = await self._why_refused(stands)
            return Step("escalated", here | {"reason": f"approval.{state}"} | ({"code": refused} if refused else {}))
        return Step("leased", here | {"approval": known.proposal.id if known.proposal else ""})

    async def _ended(self, stands: Incident, known: Known) -> Step | Wait:
        """The action's outcome on record decides; how much of an unknown one happened is measured."""
        past = await self._records.past(stands.tenant, stands.action_id)
        if past is None and self._never_began(known):
            await self._store.write(lambda c: writes.close(c, stands.tenant, stands.action_id, "cancelled"))
            return Step("escalated", {"action_id": stands.action_id, "reason": "action.not_begun"})
        if past is None or past.outcome is None:
            return Wait(POLL_S)
        here = {"action_id": stands.action_id, "status": past.status}
        if past.status not in UNDOABLE:
            await self.did_not_happen(stands.tenant, stands.action_id)
            return Step("escalated", here | {"reason": "action.failed"})
        return Step("verifying", here)

    async def did_not_happen(self, tenant: str, action_id: str) -> None:
        """The record says that a write had no effect: it counts neither for caps nor for what helps."""
        await self._store.write(lambda c: writes.close(c, tenant, action_id, "failed"), durable=False)

    def _never_began(self, known: Known) -> bool:
        """Whether nobody can be on the way to the intent any more: the gate died there, or the approval was given back."""
        now = seconds(self._clock)
        if known.proposal is not None and known.proposal.at(now).state in {"approved", "executing"}:
            return False  # the background goes on with it, or closes it
        return known.write is None or now - known.write.at >= NOT_BEGUN_S

    # -- verification -----------------------------------------------------------------------------------------------

    async def _verified(self, stands: Incident, known: Known) -> Step | Wait:
        """Measure what is due, judge, and act on the verdict."""
        here: dict[str, Json] = {"action_id": stands.action_id}
        declared = self._catalog().find(known.write.action) if known.write else None
        if known.write is None or declared is None or known.diagnosis is None:
            return Step("escalated", here | {"reason": "remedy.unknown"})
        times = self._times(declared)
        events = await self._incidents.events(stands.tenant, stands.id)
        # A note, too, is an event in this state; what counts is when the incident came to it.
        began = max(event.at for event in events if event.to_state == "verifying" != event.from_state)
        due = [began + times.settle + number * times.interval for number in range(1, times.samples + 1)]
        now = seconds(self._clock)
        taken = [at for at in due if at <= now]
        over = len(taken) == len(due)
        # Before the end only the latest can show a turn for the worse; the others are kept, and read back then.
        samples = list(enumerate(taken))[0 if over else -LASTING - 1 :]
        levels = await self._levels(stands, known.diagnosis, events, samples, since=began + times.settle)
        verdict = judge(levels, over=over)
        if verdict is Verdict.PENDING:
            return Wait(max(1, due[len(taken)] - now))
        await self._store.write(
            lambda c: writes.close(c, stands.tenant, stands.action_id, verdict.value), durable=False
        )
        body = here | {"verdict": verdict.value, "action": known.write.action, "levels": shown(levels)}
        if verdict is Verdict.IMPROVED:
            return Step("mitigated", body)
        body |= {"reason": f"remedy.{verdict.value}", "wrong_diagnosis": stands.diagnosis}
        return Step("rolling_back" if known.write.plan["undo"] else "escalated", body)

    async def _levels(
        self,
        stands: Incident,
        diagnosis: DiagnosisRow,
        events: Sequence[Event],
        due: Sequence[tuple[int, int]],
        *,
        since: int,
    ) -> list[Level]:
        """Each service level with its value before and its samples (number, second), none of which looks back past ``since``."""
        before: Mapping[str, Json] = next(
            (event.body["levels"] for event in reversed(events) if event.kind == "baseline"), {}
        )
        levels = []
        for spot in self._spots(stands, diagnosis):
            after = [await self._sample(stands, spot, at, f"verify-{number}", since) for number, at in due]
            was = before.get(spot.name)
            levels.append(
                level_of(
                    spot.sli,
                    component=spot.component,
                    dependent=spot.dependent,
                    before=Decimal(was) if isinstance(was, str) else None,
                    after=after,
                )
            )
        return levels

    async def _measure_before(self, stands: Incident) -> None:
        """Put the service levels as they are now into the incident."""
        row = await self._store.read(lambda c: diagnosis_rows.find(c, stands.tenant, stands.diagnosis))
        if row is None:
            return
        now = seconds(self._clock)
        values = {
            spot.name: await self._sample(stands, spot, now, f"before-{now}") for spot in self._spots(stands, row)
        }
        body = {"at": now, "levels": {name: None if value is None else str(value) for name, value in values.items()}}
        await self._incidents.note(stands.tenant, stands.id, kind="baseline", by=BY, body=body)

    async def _sample(self, stands: Incident, spot: Spot, at: int, name: str, since: int = 0) -> Decimal | None:
        step = f"{stands.id}.{name}.{stands.action_id or stands.diagnosis}"
        return await self._measuring.value(stands.tenant, stands.session, spot, at=at, step=step, since=since)

    def _spots(self, stands: Incident, diagnosis: DiagnosisRow) -> list[Spot]:
        graph = self._topology.graph(stands.tenant, stands.env)
        return self._measuring.spots(stands.tenant, stands.env, diagnosis.component, graph)

    # -- undoing ----------------------------------------------------------------------------------------------------

    async def _undone(self, stands: Incident, known: Known) -> Step | Wait:
        """Run the undoing that was bound to the action: once, by its key; a refusal calls people."""
        here: dict[str, Json] = {"action_id": stands.action_id}
        undo: Mapping[str, Any] | None = known.write.plan["undo"] if known.write else None
        if known.write is None or undo is None:
            return Step("escalated", here | {"reason": "rollback.none"})
        ask = Ask(
            action=undo["action"],
            resource=undo["resource"],
            arguments=undo["arguments"],
            session=known.write.plan["session"],
            reason=f"{stands.action_id} did not help",
            idempotency_key=f"{stands.id}.rollback.{stands.action_id}",
        )
        try:
            answer = await self._pipeline.own(verifier(stands.tenant, self._clock), ask, undoes=stands.action_id)
        except BrokerError as error:
            if isinstance(error, Unavailable) or error.retry_after is not None or error.error_code == "action.running":
                return Wait(max(POLL_S, int(error.retry_after or 0)))
            return Step("escalated", here | {"reason": "rollback.refused", "code": error.error_code})
        told = here | {"rollback": answer.body["action_id"], "status": answer.body["status"]}
        if answer.body["status"] != "done":
            return Step("escalated", told | {"reason": "rollback.failed"})
        return Step("rolled_back", told)

    # -- rows -------------------------------------------------------------------------------------------------------

    async def _known(self, stands: Incident) -> Known:
        def look(connection: Connection) -> Known:
            tenant, action_id = stands.tenant, stands.action_id
            proposal = proposal_rows.of_action(connection, tenant, action_id)
            return Known(
                proposal=proposal,
                asked_in=writes.incident_of_session(connection, tenant, proposal.session) if proposal else "",
                write=writes.find(connection, tenant, action_id),
                diagnosis=diagnosis_rows.find(connection, tenant, stands.diagnosis),
            )

        return await self._store.read(look)

    async def _why_refused(self, stands: Incident) -> str:
        """The code with which the approved action was refused at its use, if it was."""
        events = await self._incidents.events(stands.tenant, stands.id)
        codes = [
            str(event.body["refused"])
            for event in events
            if event.kind == "action" and event.body.get("action_id") == stands.action_id and "refused" in event.body
        ]
        return codes[-1] if codes else ""

    async def _incident_of(self, proposal: Proposal) -> str:
        """The incident in whose session the proposal was made."""
        return await self._store.read(lambda c: writes.incident_of_session(c, proposal.tenant, proposal.session))
