"""The gate's own acts about incidents and work, as `acts.py` runs them: decided and on record before they come here.

What a step means stands in ``incidents``; here stands who may ask for it beyond what policy says, and how it is answered.
An agent sees one incident: that of the session in which it asks.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from broker.config import IncidentSettings
from broker.errors import AuditUnavailable, BadRequest, LimitExceeded, NotFound
from broker.evidence import Diagnosis, Evidence, Symptom
from broker.incidents import Alert, Event, Incident, Incidents, fingerprint_of
from broker.incidents.pages import named, span
from broker.kept import KeptInLog
from broker.model import Json, PartyKind, Principal
from broker.records import Records
from broker.sessions import Sessions
from broker.topology import Topology
from broker.work import Work

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
DIAGNOSES_SHOWN = 20
"""Of one answer; an incident takes in ``DIAGNOSES_MAX``."""
DIAGNOSES_MAX = 100
Remedies = Callable[[Incident, Diagnosis | None], Sequence[Mapping[str, Json]]]


class IncidentActs:
    """Acts by name; ``acts.Acts`` runs them beside its own."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        incidents: Incidents,
        work: Work,
        evidence: Evidence,
        kept: KeptInLog,
        topology: Topology,
        sessions: Sessions,
        records: Records,
        settings: IncidentSettings,
        remedies: Remedies,
    ) -> None:
        """``remedies(incident, diagnosis)`` lists the catalogue, filled in as far as is known."""
        self._incidents = incidents
        self._work = work
        self._evidence = evidence
        self._kept = kept
        self._topology = topology
        self._sessions = sessions
        self._records = records
        self._settings = settings
        self._remedies = remedies
        self.acts: Mapping[str, Act] = {
            "gate.incidents.receive": self._receive,
            "gate.incidents.read": self._read,
            "gate.incidents.note": self._note,
            "gate.incidents.direct": self._direct,
            "gate.incidents.diagnose": self._diagnose,
            "gate.work.claim": self._claim,
            "gate.work.renew": self._renew,
            "gate.work.finish": self._finish,
        }

    async def is_due(self, tenant: str, kinds: Sequence[str]) -> bool:
        """Whether anything can be claimed now; says nothing of what."""
        return await self._work.is_due(tenant, kinds)

    async def record(self, tenant: str = "", incident: str = "") -> None:
        """Put events on record that are not yet, of one incident or of all; nothing more is due for it before.

        An event that the log does not take holds up its own incident only. Raises ``AuditUnavailable`` for the first.
        """
        refused: dict[tuple[str, str], AuditUnavailable] = {}
        for event in await self._incidents.unrecorded(tenant, incident):
            if (event.tenant, event.incident) not in refused:
                try:
                    await self._record(event)
                except AuditUnavailable as error:
                    refused[event.tenant, event.incident] = error
        if refused:
            raise next(iter(refused.values()))

    async def _record(self, event: Event) -> None:
        """One event under its own id: again is the same record."""
        whole = await self._incidents.get(event.tenant, event.incident)
        await self._records.incident(
            event.tenant,
            event=event.id,
            incident=event.incident,
            session=whole.session,
            kind=event.kind,
            seq=event.seq,
            by=event.actor,
            at=event.at,
            states=(event.from_state, event.to_state) if event.from_state != event.to_state else ("", ""),
            body=event.body,
        )
        await self._incidents.recorded(event.tenant, event.id)

    # -- alerts -----------------------------------------------------------------------------------------------------

    async def _receive(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Count, link, end or open; the answer names the incident, or none for the end of something unknown."""
        labels = said["labels"]
        alert = Alert(
            fingerprint=said["fingerprint"] or fingerprint_of(said["title"], said["service"], said["env"], labels),
            title=said["title"],
            service=said["service"],
            env=said["env"],
            severity=said["severity"],
            status=said["status"],
            starts_at=said["starts_at"],
            ends_at=said["ends_at"] or None,
            labels=labels,
            annotations=said["annotations"],
            source=said["source"],
            truncated=said["truncated"],
            trusted={name: labels[name] for name in self._settings.trusted_labels if name in labels},
        )
        try:
            found = await self._incidents.receive(principal.tenant, alert, by=principal.acting.id)
        except LimitExceeded:
            await self.record(principal.tenant)
            raise
        if found is None:
            return {"incident": "", "state": ""}
        await self.record(principal.tenant, found.id)
        if found.merged_into:
            await self.record(principal.tenant, found.merged_into)
        return {"incident": found.id, "state": found.state, "merged_into": found.merged_into}

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _read(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        if said["what"] == "page":
            return await self._page(principal, said)
        tenant, incident = principal.tenant, said["incident"]
        await self._theirs(principal, incident, said["in_session"])
        readings: Mapping[str, Callable[[str, str, Mapping[str, Any]], Awaitable[Json]]] = {
            "whole": self._whole,
            "events": self._events,
            "diagnoses": self._diagnoses,
            "timeline": self._timeline,
            "postmortem": self._postmortem,
            "impact": lambda t, i, _: self._incidents.impact(t, i),
            "experts": self._experts,
        }
        return await readings[said["what"]](tenant, incident, said)

    async def _page(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """For people: an agent gets its incident with its work."""
        if principal.acting.kind is not PartyKind.HUMAN:
            raise NotFound("an agent reads the incident of its session", code="incident.not_found")
        states = (said["state"],) if said["state"] else ()
        page = await self._incidents.page(principal.tenant, states, after=said["after"], limit=said["limit"])
        return {"incidents": [_brief(one) for one in page.items], "after": page.after}

    async def _whole(self, tenant: str, incident: str, said: Mapping[str, Any]) -> Json:
        """Everything that the next step, or a person, needs to know; of events and diagnoses the newest, and how many there are."""
        stands = await self._incidents.get(tenant, incident)
        newest = {"before": "", "after": "", "only": "", "limit": said["limit"]}
        events = await self._events(tenant, incident, newest)
        diagnoses = await self._diagnoses(tenant, incident, newest)
        accepted = await self._evidence.get(tenant, stands.diagnosis) if stands.diagnosis else None
        if accepted is not None and accepted.id not in {one["id"] for one in diagnoses["diagnoses"]}:
            diagnoses["diagnoses"].insert(0, accepted.as_json())
        memory = await self._incidents.similar(
            tenant, fingerprint=stands.fingerprint, service=stands.service, env=stands.env
        )
        return {
            "incident": _row(stands),
            "asked": await self._incidents.asked(tenant, incident),
            "events": events.pop("events"),
            "events_part": events,
            "diagnoses": diagnoses.pop("diagnoses"),
            "diagnoses_part": diagnoses,
            "topology": self._topology.graph(tenant, stands.env).as_json(),
            "memory": memory,
            "remedies": [dict(one) for one in self._remedies(stands, accepted)],
            "linked": [_brief(one) for one in await self._incidents.linked(tenant, incident)],
        }

    async def _events(self, tenant: str, incident: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """One part of the events, and where the rest is."""
        wanted = span(said["before"], said["after"], said["limit"], 1)
        part = await self._incidents.events_part(tenant, incident, wanted, only=said["only"])
        total = (await self._incidents.get(tenant, incident)).version
        told = [{"id": event.id, **_event(event)} for event in part.items]
        edges = {"before": named(part.before), "after": named(part.after)}
        return {"events": told, **edges, "total": total, "bytes": part.bytes}

    async def _diagnoses(self, tenant: str, incident: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """One part of the diagnoses, and where the rest is."""
        wanted = span(said["before"], "", min(said["limit"], DIAGNOSES_SHOWN), 2)
        part, total = await self._evidence.part_of_incident(tenant, incident, wanted)
        told = [one.as_json() for one in part.items]
        return {"diagnoses": told, "before": named(part.before), "total": total, "bytes": part.bytes}

    async def _timeline(self, tenant: str, incident: str, said: Mapping[str, Any]) -> Json:
        """One part of the timeline."""
        recorded = self._kept.recorded(tenant, await self._sessions.of_incident(tenant, incident))
        edges = {name: said[name] for name in ("before", "after", "limit")}
        return await self._incidents.timeline(tenant, incident, recorded=recorded, **edges)

    async def _postmortem(self, tenant: str, incident: str, _: Mapping[str, Any]) -> Json:
        recorded = self._kept.recorded(tenant, await self._sessions.of_incident(tenant, incident))
        return await self._incidents.postmortem(tenant, incident, recorded=recorded)

    async def _experts(self, tenant: str, incident: str, _: Mapping[str, Any]) -> Json:
        return {"experts": await self._incidents.experts(tenant, incident)}

    async def actions(self, tenant: str, incident: str) -> list[dict[str, Json]]:
        """The incident's actions on record, in all its sessions."""
        return await self._kept.actions(tenant, await self._sessions.of_incident(tenant, incident))

    # -- taking part ------------------------------------------------------------------------------------------------

    async def _note(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        await self._theirs(principal, said["incident"], said["in_session"])
        machine = principal.acting.kind is not PartyKind.HUMAN
        body: dict[str, Json] = {"text": said["text"]} | ({"machine": True} if machine else {})
        return await self._told(principal, said["incident"], "note", body)

    async def _direct(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """What people do in an incident; each is an event that the agent's next step sees."""
        kind, incident = said["kind"], said["incident"]
        body = {name: said[name] for name in ("text", "component", "fault") if said.get(name)}
        if kind == "close":
            stands = await self._incidents.get(principal.tenant, incident)
            await self._incidents.advance(
                principal.tenant, incident, to="learning", by=principal.acting.id, body=body, version=stands.version
            )
            await self.record(principal.tenant, incident)
            return {"incident": incident, "event": "", "state": "learning"}
        if kind in {"rule_out", "correct"} and not (said.get("component") or said.get("fault")):
            raise BadRequest("field `component` or `fault` says what is meant", code="incident.kind")
        return await self._told(principal, incident, kind, body)

    async def _told(self, principal: Principal, incident: str, kind: str, body: Mapping[str, Json]) -> Json:
        event = await self._incidents.note(principal.tenant, incident, kind=kind, by=principal.acting.id, body=body)
        await self.record(principal.tenant, incident)
        stands = await self._incidents.get(principal.tenant, incident)
        return {"incident": incident, "event": event.id, "state": stands.state}

    async def _diagnose(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """Every claim is recomputed; the submission's own words decide nothing."""
        tenant, incident = principal.tenant, said["incident"]
        await self._theirs(principal, incident, said["in_session"])
        stands = await self._incidents.get(tenant, incident)
        if await self._evidence.count(tenant, incident) >= DIAGNOSES_MAX:
            raise LimitExceeded(
                "the incident has as many diagnoses as it may",
                code="incident.diagnoses",
                remedy="finish the step as inconclusive, or hand the incident to people",
            )
        cause = {"component": said["component"], "fault": said["fault"], "summary": said["summary"]}
        found = await self._evidence.judge(
            tenant=tenant,
            incident=incident,
            session=said["in_session"] or stands.session,
            cause=cause,
            claims=said["claims"],
            ruled_out=said["ruled_out"],
            topology=self._topology.graph(tenant, stands.env),
            symptom=Symptom(stands.service, stands.since),
            excluded=await self._incidents.excluded(tenant, incident),
        )
        verdicts = [str(claim["verdict"]) for claim in found.claims]
        told: dict[str, Json] = {"diagnosis": found.id, "verdict": found.verdict}
        told |= {"component": said["component"], "fault": said["fault"], "confidence_milli": found.confidence_milli}
        told |= {word: verdicts.count(word) for word in ("verified", "refuted", "unverifiable")}
        await self._told(principal, incident, "diagnosis", told)
        return {"diagnosis": found.id, **{name: value for name, value in found.as_json().items() if name != "id"}}

    # -- work -------------------------------------------------------------------------------------------------------

    async def _claim(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        claimed = await self._work.claim(principal.tenant, said["kinds"], principal.acting.id, said["hold_seconds"])
        if claimed is None:
            return {"work": ""}
        return {
            "work": claimed.id,
            "kind": claimed.kind,
            "subject": claimed.subject,
            "session": claimed.session,
            "step": claimed.step,
            "fence": claimed.fence,
            "until": claimed.until,
        }

    async def _renew(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        held = await self._work.renew(
            principal.tenant,
            said["work"],
            holder=principal.acting.id,
            fence=said["fence"],
            hold_s=said["hold_seconds"],
        )
        return {"work": held.id, "until": held.until}

    async def _finish(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        """The transition, its event and what is due next commit together; the record follows."""
        stands = await self._incidents.finish(
            principal.tenant,
            said["work"],
            holder=principal.acting.id,
            fence=said["fence"],
            step=said["step"],
            to=said["to"],
            by=principal.acting.id,
            body=said["body"],
        )
        await self.record(principal.tenant, stands.id)
        return {"incident": stands.id, "state": stands.state, "version": stands.version}

    async def _theirs(self, principal: Principal, incident: str, session: str) -> None:
        """An agent asks about the incident of its session only; to it, no other exists."""
        if principal.acting.kind is PartyKind.HUMAN:
            return
        serving = await self._sessions.get(principal, session) if session else None
        if serving is None or serving.incident != incident:
            raise NotFound("there is no such incident in your session", code="incident.not_found")


def _brief(stands: Incident) -> dict[str, Json]:
    """An incident as lists carry it: without the alert's own texts, which its own page has."""
    return {name: value for name, value in _row(stands).items() if name != "alert"}


def _row(stands: Incident) -> dict[str, Json]:
    """An incident as answers carry it."""
    return {name: value for name, value in asdict(stands).items() if name not in {"tenant", "counted_at"}}


def _event(event: Event) -> dict[str, Json]:
    return {name: getattr(event, name) for name in ("seq", "kind", "at", "actor", "from_state", "to_state")} | {
        "body": dict(event.body)
    }
