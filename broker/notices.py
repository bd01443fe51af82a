"""Telling people's systems: an incident that was escalated is told to each configured receiver, with what is known of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.errors import BrokerError
from broker.evidence import Diagnosis, Evidence
from broker.incidents import Event, Incident, Incidents
from broker.kept import KeptInLog
from broker.messages import Messages, foremost
from broker.model import Json
from broker.sessions import Sessions
from broker.work import Claimed, Work

ACTION = "notify.incident.send"
SEVERITIES = {1: "info", 2: "warning", 3: "high", 4: "critical"}
RULING = frozenset({"rule_out"})
LISTED_MAX = 32


class Notices:
    """Does the work kind ``notify``."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        messages: Messages,
        incidents: Incidents,
        evidence: Evidence,
        kept: KeptInLog,
        sessions: Sessions,
        work: Work,
        receivers: Sequence[str],
        url: str,
    ) -> None:
        """``receivers`` are ids of resources of type ``webhook``; ``url`` is the gate's own address."""
        self._messages = messages
        self._incidents = incidents
        self._evidence = evidence
        self._kept = kept
        self._sessions = sessions
        self._work = work
        self._receivers = receivers
        self._url = url

    async def notify(self, claimed: Claimed) -> None:
        """Tell every receiver; one that cannot be reached is tried again, and the others are not told twice."""
        stands = await self._incidents.get(claimed.tenant, claimed.incident)
        before = await self._told(claimed)
        failed: list[BrokerError] = []
        told: list[str] = []
        for receiver in self._receivers:
            if receiver in before:
                continue
            try:
                await self._messages.send(
                    claimed.tenant,
                    receiver,
                    await self._message(stands, claimed),
                    action=ACTION,
                    event=claimed.subject,
                    reason=f"incident {stands.id}",
                )
                told.append(receiver)
            except BrokerError as error:  # whatever keeps one receiver from it, the others are told
                failed.append(error)
        if told:
            body: dict[str, Json] = {"told": list(told), "about": claimed.subject}
            await self._incidents.note(claimed.tenant, stands.id, kind="notification", by="gate", body=body)
        if failed:
            raise foremost(failed)
        await self._work.done(claimed)

    async def _told(self, claimed: Claimed) -> set[str]:
        """Receivers that an earlier try reached."""
        events = await self._incidents.events(claimed.tenant, claimed.incident)
        told = [one.body for one in events if one.kind == "notification" and one.body.get("about") == claimed.subject]
        return {str(name) for body in told for name in body["told"]}

    async def _message(self, stands: Incident, claimed: Claimed) -> dict[str, Json]:
        """What is known: the verdict on each claim, what was ruled out, what was tried, and what was refused and why."""
        events = await self._incidents.events(claimed.tenant, stands.id)
        diagnoses = await self._evidence.of_incident(claimed.tenant, stands.id)
        sessions = await self._sessions.of_incident(claimed.tenant, stands.id)
        actions = await self._kept.actions(claimed.tenant, sessions)
        tried = [_write(action) for action in actions if action["effect"] == "write"]
        tried += await self._kept.refused(claimed.tenant, sessions)
        last = diagnoses[-1] if diagnoses else None
        return {
            "incident": stands.id,
            "kind": "escalated",
            "service": stands.service,
            "env": stands.env,
            "severity": SEVERITIES[stands.severity],
            "title": stands.title,
            "summary": _summary(last, claimed.body or {}),
            "evidence": [_claim(claim) for claim in (last.claims if last else ())][:LISTED_MAX],
            "ruled_out": _ruled_out(diagnoses, events),
            "tried": tried[-LISTED_MAX:],
            "url": f"{self._url}/v1/incidents/{stands.id}",
        }


def _summary(last: Diagnosis | None, why: Mapping[str, Json]) -> str:
    """One line of codes and names: nobody's prose."""
    found = "nothing was diagnosed"
    if last is not None:
        missing = ", ".join(str(one.get("code", "")) for one in last.missing)
        found = f"{last.verdict}: {last.cause.get('component')} {last.cause.get('fault')}"
        found += f" (confidence {last.confidence_milli}/1000)" + (f"; missing: {missing}" if missing else "")
    reason = str(why.get("reason", ""))
    return f"{found}; escalated: {reason}" if reason else found


def _claim(claim: Mapping[str, Any]) -> dict[str, Json]:
    names = ("text", "verdict", "observation", "selector", "op", "value", "actual")
    return {name: claim[name] for name in names if claim.get(name) is not None}


def _ruled_out(diagnoses: Sequence[Diagnosis], events: Sequence[Event]) -> list[Json]:
    """By the agent, with its claims; and by people."""
    found: list[Json] = [dict(rival) for one in diagnoses for rival in one.ruled_out]
    found += [{**event.body, "by": event.actor} for event in events if event.kind in RULING]
    return found[:LISTED_MAX]


def _write(action: Mapping[str, Json]) -> dict[str, Json]:
    return {name: action[name] for name in ("action", "resource", "status", "at", "action_id")}
