"""Time boxes at work: people are told that a request may run by itself, and at the end it is asked whether silence counts.

A box is a row, and so is the work that serves it: a replica that dies leaves both to the next one. Time alone does
nothing. At the end policy is asked on the facts of that moment as if silence counted; only where it says yes, and rows
say that everybody was told, somebody on call said so, nobody said no and the day's count is not full, the request is
approved by rule, which is put on record. Then it goes the way of every approved request, and is decided once more. In
every other case silence counts for nothing, and the request waits for people until it expires, as without a box.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import orjson

from broker.approvals import Approvals, Boxes, Due, Proposal
from broker.clock import Clock, seconds
from broker.errors import BrokerError, NotFound, Unavailable
from broker.incidents import Incident, Incidents
from broker.messages import Messages
from broker.model import Decision, Json, RequireApproval, TimeBox
from broker.notices import ACTION, SEVERITIES
from broker.pipeline import Pipeline
from broker.records import Records
from broker.remedies import verifier
from broker.sessions import Sessions
from broker.store.timeboxes import TimeBoxRow
from broker.telemetry import Telemetry
from broker.work import Claimed, Work

UNRECORDED_S = 5
"""So often a proposal is looked at whose own record is not in the log yet."""
BY = "gate"


class TimeBoxes:
    """Does the work kind ``time_box``."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        pipeline: Pipeline,
        approvals: Approvals,
        boxes: Boxes,
        approved: Due,
        incidents: Incidents,
        sessions: Sessions,
        records: Records,
        messages: Messages,
        work: Work,
        clock: Clock,
        telemetry: Telemetry,
        receivers: Sequence[str],
        url: str,
    ) -> None:
        """``receivers`` must all take the notice; ``approved`` takes what silence approved; ``url`` is the gate's own."""
        self._pipeline = pipeline
        self._approvals = approvals
        self._boxes = boxes
        self._approved = approved
        self._incidents = incidents
        self._sessions = sessions
        self._records = records
        self._messages = messages
        self._work = work
        self._clock = clock
        self._telemetry = telemetry
        self._receivers = receivers
        self._url = url

    async def step(self, claimed: Claimed) -> None:
        """Do what is due for one box; again changes nothing."""
        try:
            found = await self._approvals.get(claimed.tenant, claimed.subject)
        except NotFound:
            await self._work.done(claimed)
            return
        delay = await self._next(found)
        if delay is None:
            await self._work.done(claimed)
        else:
            await self._work.postpone(claimed, delay)

    async def _next(self, found: Proposal) -> int | None:
        """Seconds after which to look again; None once there is nothing more to do."""
        box, now = found.box, seconds(self._clock)
        if box is None or box.state == "void":
            return None
        if box.state == "counted":
            # Whoever let it count may have died before it was on record.
            await self._counted(found, box)
            return None
        if found.state != "waiting":
            return None
        if not box.told_at:
            return await self._begin(found, box)
        if now < box.due:
            return box.due - now
        await self._end(found, box)
        return None

    # -- the beginning ------------------------------------------------------------------------------------------------

    async def _begin(self, found: Proposal, box: TimeBoxRow) -> int | None:
        """Tell every receiver; one that does not take it is told again later, and until then nothing has begun."""
        if not await self._records.has(found.tenant, f"{found.id}.proposal"):
            return UNRECORDED_S
        now, stands = seconds(self._clock), await self._incident(found)
        waiting = [receiver for receiver in self._receivers if receiver not in box.told]
        if stands is None or not waiting:
            await self._void(found, box, "timebox.no_receiver")
            return None
        if now + box.seconds >= found.expires_at:
            await self._void(found, box, "timebox.no_time")
            return None
        said = "runs by itself unless somebody denies it; somebody must acknowledge this first"
        for receiver in waiting:
            message = self._message(found, stands, said, runs_at=now + box.seconds)
            await self._send(found, receiver, message, f"{found.id}.box")
            await self._boxes.told(found, receiver, last=receiver == waiting[-1])
        await self._note(found, {"state": "begun", "runs_at": now + box.seconds, "told": list(self._receivers)})
        return box.seconds

    async def _send(self, found: Proposal, receiver: str, message: Mapping[str, Json], event: str) -> None:
        await self._messages.send(
            found.tenant, receiver, message, action=ACTION, event=event, reason=f"approval {found.id}"
        )

    def _message(self, found: Proposal, stands: Incident, said: str, *, runs_at: int) -> dict[str, Json]:
        """Codes and names of the request, and what becomes of it: nobody's prose."""
        what = f"{found.action} on {found.resource['type']}/{found.resource['id']} ({found.resource['env']})"
        return {
            "incident": stands.id,
            "kind": "waiting",
            "service": stands.service,
            "env": stands.env,
            "severity": SEVERITIES[stands.severity],
            "title": stands.title,
            "summary": f"{what} {said}",
            "approval": found.id,
            "runs_at": runs_at,
            "url": f"{self._url}/v1/approvals/{found.id}",
        }

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _end(self, found: Proposal, box: TimeBoxRow) -> None:
        """Let silence count if policy says so now and the rows bear it; else leave the request to people."""
        decision: Decision | None = None
        try:
            decision = await self._pipeline.foresee(found)
        except Unavailable:
            raise  # asked again later; until then it waits
        except BrokerError as error:
            code = error.error_code
        else:
            duty = _duty(decision)
            code = _against(found, decision)
            if not code and duty is not None:
                code = await self._boxes.count(found, duty.per_day)
        if code:
            await self._void(found, box, code)
            return
        self._telemetry.event("time_box.counted", approval=found.id, rule=box.rule)
        await self._counted(found, box, decision)

    async def _counted(self, found: Proposal, box: TimeBoxRow, decision: Decision | None = None) -> None:
        """Put down by which rule, and on what, it counted; then it is approved, and runs like what people approved."""
        inputs = {
            "told": list(box.told),
            "told_at": box.told_at,
            "ended_at": box.due,
            "acknowledged_by": box.acknowledged_by,
            "acknowledged_at": box.acknowledged_at,
            "seconds": box.seconds,
        }
        await self._records.review(
            verifier(found.tenant, self._clock),
            approval=found.id,
            about=f"{found.id}.proposal",
            digest=found.digest,
            verdict="silence",
            given=0,
            quorum=found.quorum,
            session=found.session,
            reason=orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS).decode(),
            rule=box.rule,
            decision=decision,
        )
        if decision is not None:
            await self._note(found, {"state": "counted", "rule": box.rule})
        now = await self._boxes.approve(found)
        if now.state == "approved":
            self._approved.add(now)

    async def _void(self, found: Proposal, box: TimeBoxRow, code: str) -> None:
        """Silence counts for nothing: people are told again where nobody had heard, and the request waits for them."""
        stands = await self._incident(found)
        if box.told_at and not box.acknowledged_by and stands is not None:
            for receiver in self._receivers:
                said = "waits for a person, for nobody acknowledged its notice"
                message = self._message(found, stands, said, runs_at=0)
                with suppress(BrokerError):
                    await self._send(found, receiver, message, f"{found.id}.unheard")
        await self._boxes.void(found, code)
        self._telemetry.event("time_box.void", approval=found.id, code=code)
        await self._note(found, {"state": "void", "code": code})

    async def _note(self, found: Proposal, body: Mapping[str, Json]) -> None:
        """Put it into the incident, which the log follows."""
        stands = await self._incident(found)
        if stands is not None:
            said = {"approval": found.id, "action_id": found.action_id, **body}
            with suppress(BrokerError):  # an incident that takes no more events ends no box
                await self._incidents.note(found.tenant, stands.id, kind="time_box", by=BY, body=said)

    async def _incident(self, found: Proposal) -> Incident | None:
        """The incident in whose session the request was made."""
        incident = await self._sessions.incident_of(found.tenant, found.session)
        return await self._incidents.get(found.tenant, incident) if incident else None


def _duty(decision: Decision) -> TimeBox | None:
    """What policy says silence may do here."""
    return next((one.time_box for one in decision.obligations if isinstance(one, RequireApproval)), None)


def _against(found: Proposal, decision: Decision) -> str:
    """The code of what stands against it; empty where nothing does."""
    if not decision.permitted:
        return decision.reasons[0].code
    if decision.policy_digest != found.policy_digest:
        return "approval.policy_changed"
    return "" if _duty(decision) is not None else "approval.time_box_withdrawn"
