"""How an incident moves on, inside one transaction: agents' steps, the gate's own, and what people do.

Each function is given the incident as it stands, with its row locked, and returns it as it stands then.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import BadRequest, Conflict, Denied, LimitExceeded
from broker.incidents.intake import FLOOD, Intake, alert_of
from broker.incidents.merging import may_link
from broker.incidents.states import AFRESH, AFTER_HOLD, AGENT_MAY, CORRECTED
from broker.model import Json
from broker.store import Connection, diagnoses
from broker.store import approvals as proposal_rows
from broker.store import incidents as rows
from broker.store import work as work_rows
from broker.store import writes as write_rows
from broker.store.incidents import Event, Incident
from broker.store.rows import pack
from broker.work import SETTLED

EVENTS_MAX = 10_000
"""Events of one incident, beyond which nobody may add a note; what a person does with it still counts."""
BODY_BYTES_MAX = 32_768
"""What an agent may say of one step."""
_KIND = re.compile(r"[a-z][a-z_]{0,31}")
Body = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Steps:
    """Moves incidents; ``intake`` opens afresh what was only linked."""

    connection: Connection
    intake: Intake

    def advance(self, stands: Incident, to: str, by: str, body: Body) -> Incident:
        """Take one step; raises ``Conflict`` where the table or the facts do not allow it."""
        if to == "linked":
            return self._link(stands, by, body)
        columns: dict[str, Any] = {}
        if to == "diagnosed":
            columns["diagnosis"] = self._accepted(stands, body)
        elif to == "proposed":
            columns["action_id"] = self._asked(stands, _named(body, "action_id"))
        after, _ = self._move(stands, to, to, by, body, **columns)
        if to == "closed":
            self._reopen(after)
            self.intake.calm()
        return after

    def agents_step(self, stands: Incident, to: str, by: str, body: Body) -> Incident:
        """``advance`` as far as an agent may; raises ``Denied`` (``incident.not_agents``)."""
        if to not in AGENT_MAY.get(stands.state, frozenset()):
            raise Denied(
                f"from `{stands.state}` an agent may not take an incident to `{to}`",
                code="incident.not_agents",
                remedy=f"ask for one of: {', '.join(sorted(AGENT_MAY.get(stands.state, ()))) or 'nothing'}",
            )
        if len(pack(dict(body))) > BODY_BYTES_MAX:
            raise BadRequest(
                f"field `body` may have {BODY_BYTES_MAX} bytes",
                code="incident.step_body",
                remedy="say it shorter: results stay with the gate, and an observation's id names one",
            )
        if (stands.state, to) == ("diagnosed", "noise") and stands.until is None:
            raise Conflict(
                "the alert still fires", code="incident.firing", remedy="propose a remedy, or escalate the incident"
            )
        if stands.state == "diagnosed" and to != "proposed":
            self._asked(stands, "")
        return self.advance(stands, to, by, body)

    def note(self, stands: Incident, kind: str, by: str, body: Body) -> Event:
        """Put down what somebody says or does; some kinds also move the incident."""
        if not _KIND.fullmatch(kind):
            raise BadRequest("field `kind` must be one lower-case word", code="incident.kind")
        acts: Mapping[str, Callable[[Incident, str, Body], Event]] = {
            "take_over": self._take_over,
            "hand_back": self._hand_back,
            "correct": self._correct,
            "rule_out": self._rule_out,
        }
        if kind in acts:
            return acts[kind](stands, by, body)  # a person is heard however much others said
        if stands.version >= EVENTS_MAX:
            raise LimitExceeded(
                "the incident has as many events as it may", code="incident.events", remedy="close it, or hand it on"
            )
        return self._tell(stands, kind, by, body)[1]

    def _take_over(self, stands: Incident, by: str, body: Body) -> Event:
        """From now on ``by`` has it, and nothing is due."""
        if stands.state == "human_hold":
            return self._tell(stands, "take_over", by, {**body, "from": stands.holder}, holder=by)[1]
        return self._move(stands, "take_over", "human_hold", by, body, holder=by)[1]

    def _hand_back(self, stands: Incident, by: str, body: Body) -> Event:
        """The holder lets it go on; an incident that waits for people anyhow may be sent on by any of them."""
        to = str(body.get("to") or "investigating")
        if to not in AFTER_HOLD:
            raise BadRequest(f"field `to` must be one of {', '.join(sorted(AFTER_HOLD))}", code="incident.kind")
        if stands.state == "escalated" and to != "escalated":
            stands, _ = self._move(stands, "take_over", "human_hold", by, {}, holder=by)
        if stands.state != "human_hold":
            raise rows.refused(stands, to)
        if stands.holder != by:
            raise Conflict(
                f"`{stands.holder}` has taken this incident over",
                code="incident.held",
                remedy="let them hand it back, or take it over first",
            )
        return self._move(stands, "hand_back", to, by, body, holder="")[1]

    def _correct(self, stands: Incident, by: str, body: Body) -> Event:
        """A person knows better. What was diagnosed no longer counts, and a step that an agent is at is stale.

        The event names the action that was proposed on the wrong diagnosis; its approval is withdrawn with it.
        """
        if stands.state in CORRECTED:
            return self._back(stands, "correct", by, body)
        after, event = self._tell(stands, "correct", by, {**body, "diagnosis": stands.diagnosis}, diagnosis="")
        if stands.state in AFRESH:
            work_rows.plan(self.connection, after, work_rows.WORK_OF[stands.state], self.intake.now_s)
        return event

    def _rule_out(self, stands: Incident, by: str, body: Body) -> Event:
        """A person excludes a cause: as a correction where the incident stands on it; who looks for causes begins afresh."""
        if stands.state in CORRECTED and self._stands_on(stands, body):
            return self._back(stands, "rule_out", by, body)
        after, event = self._tell(stands, "rule_out", by, body)
        if stands.state == "investigating":
            work_rows.plan(self.connection, after, work_rows.WORK_OF[stands.state], self.intake.now_s)
        return event

    def _back(self, stands: Incident, kind: str, by: str, body: Body) -> Event:
        """Back to the investigation: the diagnosis is withdrawn, and with it the approval that hung on it."""
        said = {**body, "diagnosis": stands.diagnosis, "action_id": stands.action_id}
        waiting = proposal_rows.of_action(self.connection, stands.tenant, stands.action_id)
        if waiting is not None and waiting.state in {"waiting", "approved"}:
            proposal_rows.move(self.connection, stands.tenant, waiting.id, "cancelled", self.intake.now_s)
        stands, event = self._move(stands, kind, "human_hold", by, said, holder=by, diagnosis="", action_id="")
        self._move(stands, "hand_back", "investigating", by, {"why": kind}, holder="")
        return event

    def _stands_on(self, stands: Incident, body: Body) -> bool:
        """Say whether what ``body`` names is the diagnosis; a part that it leaves out means any."""
        found = diagnoses.find(self.connection, stands.tenant, stands.diagnosis)
        named = (body.get("component", ""), body.get("fault", ""))
        return found is not None and any(named) and named[0] in {"", found.component} and named[1] in {"", found.fault}

    def _link(self, stands: Incident, by: str, body: Body) -> Incident:
        """Link into ``body.into``, with all that is linked to it; only where the topology has a way between them."""
        into_id = _named(body, "into")
        into = rows.find(self.connection, stands.tenant, into_id, lock="wait") if into_id != stands.id else None
        graph = self.intake.topology.graph(stands.tenant, stands.env)
        if into is None or not may_link(graph, stands, into):
            raise Conflict(
                "field `into` is no open incident that this one can depend on",
                code="incident.unrelated",
                remedy="name an open incident of the same service, or of one on the same path in the topology",
            )
        after, _ = self._move(stands, "linked", "linked", by, body, merged_into=into.id)
        rows.repoint(self.connection, stands.tenant, stands.id, into.id)
        louder = max(stands.severity, into.severity)
        told: Body = {"incident": stands.id, "service": stands.service, "title": stands.title, "why": "agent"}
        into, _ = self._tell(into, "alert", by, told, severity=louder)
        work_rows.raised(self.connection, into)
        self.intake.calm()
        return after

    def _reopen(self, closed: Incident) -> None:
        """What was linked to a closed incident and still fires stands for itself again.

        So does its own alert, where that came back when the incident was as good as over.
        """
        for one in rows.merged(self.connection, closed.tenant, closed.id, firing=True):
            self.intake.open(alert_of(one), [], follows=one)
        if closed.until is None and closed.fingerprint != FLOOD and self._came_back(closed):
            self.intake.open(alert_of(closed), [], follows=closed)

    def _came_back(self, closed: Incident) -> bool:
        """Say whether the alert fired again after the last step into a settled state."""
        settled, again = 0, 0
        for event in rows.events(self.connection, closed.tenant, closed.id):
            if event.to_state in SETTLED and event.from_state not in SETTLED:
                settled = event.seq
            elif event.kind == "fired_again":
                again = event.seq
        return again > settled > 0

    def _asked(self, stands: Incident, action_id: str) -> str:
        """``action_id``, unless the incident has asked for another one: whatever was begun is followed and measured."""
        others = write_rows.asked_in(self.connection, stands.tenant, stands.id)
        if others and action_id not in others:
            raise Conflict(
                f"the incident has asked for `{others[0]}`",
                code="incident.acted",
                remedy="finish the step as `proposed`, naming that action",
            )
        return action_id

    def _accepted(self, stands: Incident, body: Body) -> str:
        """The id of a diagnosis of this incident that the gate found to hold."""
        named = _named(body, "diagnosis")
        found = diagnoses.find(self.connection, stands.tenant, named)
        if found is None or found.incident != stands.id or found.verdict != "diagnosed":
            raise Conflict(
                "field `diagnosis` is no diagnosis of this incident that held",
                code="incident.diagnosis",
                remedy="submit claims until the gate answers `diagnosed`, or finish as inconclusive",
            )
        return named

    def _move(
        self, stands: Incident, kind: str, to: str, by: str, body: Body, **columns: Any
    ) -> tuple[Incident, Event]:
        return work_rows.move(
            self.connection, stands, kind=kind, to=to, by=by, now_s=self.intake.now_s, body=body, **columns
        )

    def _tell(self, stands: Incident, kind: str, by: str, body: Body, **columns: Any) -> tuple[Incident, Event]:
        return rows.change(self.connection, stands, kind=kind, by=by, now_s=self.intake.now_s, body=body, **columns)


def _named(body: Body, name: str) -> str:
    """A field of the body that the step needs."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"field `{name}` is needed for this step", code="incident.step")
    return value
