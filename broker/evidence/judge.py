"""Judging a submission: load, recompute, weigh, store; and the facts that policy sees of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.clock import Clock, seconds
from broker.evidence import confidence
from broker.evidence.assessing import assess
from broker.evidence.claims import SUPPORTING, Cause, RuledOut, read_cause, read_claims, read_ruled_out
from broker.evidence.diagnosis import MISSING, Judged, Symptom, Weighed, rivals_out, weigh
from broker.evidence.observations import KeptResults, Shelf, Signal, Well
from broker.evidence.prose import backed
from broker.evidence.subjects import Paths
from broker.evidence.syntax import parse
from broker.evidence.tracing import path_of
from broker.model import Json, Resource
from broker.store import Connection, Store
from broker.store import diagnoses as rows
from broker.store import sessions as session_rows
from broker.store.diagnoses import DiagnosisRow
from broker.store.rows import Part, Span, new_id

TRACK_MIN = 2
"""Past incidents of a fault before its record counts."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The gate's verdict on a cause, and on each claim."""

    id: str
    incident: str
    verdict: str
    confidence_milli: int
    cause: Mapping[str, Json]
    claims: Sequence[Mapping[str, Json]]
    ruled_out: Sequence[Mapping[str, Json]]
    missing: Sequence[Mapping[str, Json]]
    verified: int
    refuted: int
    sources: int
    signals: int
    at: int

    def as_json(self) -> dict[str, Json]:
        """As answers, events and pages carry it."""
        return {
            "id": self.id,
            "incident": self.incident,
            "verdict": self.verdict,
            "confidence_milli": self.confidence_milli,
            "cause": dict(self.cause),
            "claims": [dict(claim) for claim in self.claims],
            "ruled_out": [dict(rival) for rival in self.ruled_out],
            "missing": [dict(one) for one in self.missing],
            "verified": self.verified,
            "refuted": self.refuted,
            "sources": self.sources,
            "signals": self.signals,
            "at": self.at,
        }


class Evidence:
    """Judges claims on what the gate itself keeps."""

    def __init__(  # noqa: PLR0913 - one collaborator a kind of fact
        self,
        store: Store,
        clock: Clock,
        *,
        results: KeptResults,
        signal_of: Signal,
        well_of: Well = lambda _: (),
        kept_s: int = 86_400,
    ) -> None:
        """``results`` reads the log; ``signal_of`` and ``well_of`` know the catalog; one may be cited for ``kept_s``."""
        self._store = store
        self._clock = clock
        self._results = results
        self._signal_of = signal_of
        self._well_of = well_of
        self._kept_s = kept_s

    async def judge(  # noqa: PLR0913 - one keyword a part of a submission
        self,
        *,
        tenant: str,
        incident: str,
        session: str,
        cause: Any,
        claims: Any,
        ruled_out: Any = (),
        topology: Paths,
        symptom: Symptom,
        excluded: Callable[[str, str], bool] = lambda _component, _fault: False,
    ) -> Diagnosis:
        """Judge and store a submission as it came in (JSON); raises ``BadRequest`` (``claim.schema``) for its form.

        ``excluded(component, fault)`` says whether a person excluded that cause.
        """
        meant, said = read_cause(cause), read_claims(claims)
        rivals = read_ruled_out(ruled_out, said)
        shelf = Shelf(
            tenant=tenant,
            incident=incident,
            results=self._results,
            incident_of=self._incident_of,
            signal_of=self._signal_of,
            now=seconds(self._clock),
            kept_s=self._kept_s,
            well_of=self._well_of,
        )
        seen = [await shelf.get(claim.observation) for claim in said]
        named = {meant.component, *(rival.component for rival in rivals)}
        # Bounded, but not short: large results would hold up everything else that this process does.
        judged = await asyncio.to_thread(assess, said, seen, topology, symptom, named)
        out = excluded(meant.component, meant.fault)
        weighed = weigh(meant, judged, rivals, topology, symptom, excluded=out)
        track = await self._track(tenant, meant)
        row = self._row(tenant, incident, session, meant, judged, rivals, weighed, track)
        await self._store.write(lambda c: rows.add(c, row))
        return diagnosis_of(row)

    async def get(self, tenant: str, diagnosis_id: str) -> Diagnosis | None:
        """One diagnosis of the tenant."""
        row = await self._store.read(lambda c: rows.find(c, tenant, diagnosis_id))
        return diagnosis_of(row) if row else None

    async def of_incident(self, tenant: str, incident: str) -> list[Diagnosis]:
        """An incident's diagnoses, oldest first."""
        found = await self._store.read(lambda c: rows.of_incident(c, tenant, incident))
        return [diagnosis_of(row) for row in found]

    async def part_of_incident(self, tenant: str, incident: str, span: Span) -> tuple[Part[Diagnosis], int]:
        """An incident's newest diagnoses, or those before a place, and how many it has."""

        def look(connection: Connection) -> tuple[Part[DiagnosisRow], int]:
            return rows.part(connection, tenant, incident, span), rows.count(connection, tenant, incident)

        part, total = await self._store.read(look)
        return Part(tuple(map(diagnosis_of, part.items)), before=part.before, bytes=part.bytes), total

    async def count(self, tenant: str, incident: str) -> int:
        """How many diagnoses an incident has."""
        return await self._store.read(lambda c: rows.count(c, tenant, incident))

    async def facts(self, tenant: str, session: str, diagnosis_id: str, resource: Resource) -> dict[str, Json]:
        """``context.evidence`` of policy's input; ``{}`` where the diagnosis is not one of this session's incident."""
        if not diagnosis_id or not session:
            return {}

        def look(connection: Connection) -> DiagnosisRow | None:
            row = rows.find(connection, tenant, diagnosis_id)
            here = session_rows.find(connection, tenant, session)
            return row if row and here and here.incident and here.incident == row.incident else None

        row = await self._store.glance(look)
        return facts_of(row, resource) if row else {}

    async def _incident_of(self, tenant: str, session: str) -> str:
        """The incident that a session was opened for: by the gate, or by a person (nobody else may name one)."""
        if not session:
            return ""
        found = await self._store.glance(lambda c: session_rows.find(c, tenant, session))
        return found.incident if found else ""

    async def _track(self, tenant: str, cause: Cause) -> int | None:
        """The share of past diagnoses of this fault that held, in thousandths; None where too few are known."""
        known, held = await self._store.read(lambda c: rows.track(c, tenant, cause.component, cause.fault))
        return held * 1000 // known if known >= TRACK_MIN else None

    def _row(  # noqa: PLR0913, PLR0917 - one argument a part
        self,
        tenant: str,
        incident: str,
        session: str,
        cause: Cause,
        judged: Sequence[Judged],
        rivals: Sequence[RuledOut],
        weighed: Weighed,
        track: int | None,
    ) -> DiagnosisRow:
        """The row to keep."""
        return DiagnosisRow(
            tenant=tenant,
            id=new_id("dgn"),
            incident=incident,
            session=session,
            verdict=weighed.verdict,
            confidence_milli=confidence.confidence_milli(weighed, track),
            verified=weighed.verified,
            refuted=weighed.refuted,
            sources=weighed.sources,
            signals=weighed.signals,
            component=cause.component,
            fault=cause.fault,
            cause=cause.as_json() | {"summary": backed(cause.summary, [one.as_json() for one in judged])},
            claims=[_told(one) for one in judged],
            ruled_out=[
                rival.as_json() | {"verified": out}
                for rival, out in zip(rivals, rivals_out(judged, rivals, cause), strict=True)
            ],
            missing=[{"code": code, "remedy": MISSING[code]} for code in weighed.missing],
            at=seconds(self._clock),
        )


def diagnosis_of(row: DiagnosisRow) -> Diagnosis:
    """A stored row as the gate speaks of it."""
    return Diagnosis(
        id=row.id,
        incident=row.incident,
        verdict=row.verdict,
        confidence_milli=row.confidence_milli,
        cause=row.cause,
        claims=row.claims,
        ruled_out=row.ruled_out,
        missing=row.missing,
        verified=row.verified,
        refuted=row.refuted,
        sources=row.sources,
        signals=row.signals,
        at=row.at,
    )


def facts_of(row: DiagnosisRow, resource: Resource) -> dict[str, Json]:
    """What policy sees of a diagnosis for an action on ``resource``: none of it is the agent's word but the names."""
    return {
        "diagnosis": row.id,
        "verdict": row.verdict,
        "verified": row.verified,
        "refuted": row.refuted,
        "sources": row.sources,
        "signals": row.signals,
        "confidence_milli": row.confidence_milli,
        "component": row.component,
        "fault": row.fault,
        "matches": (here := matches(row.component, resource)),
        **(strength(row) if here else {"about": 0, "independent": 0}),
    }


def strength(row: DiagnosisRow) -> dict[str, Json]:
    """Of the component of a diagnosis: ``about``, claims that count; ``independent``, those that share nothing."""
    counted = [one for one in row.claims if _counts(one, row.component)]
    read = {(one["observation"], path_of(parse(str(one["selector"])))) for one in counted}
    kinds = min(len({one["source"] for one in counted}), len({one["signal"] for one in counted}))
    return {"about": len(read), "independent": kinds}


def _counts(claim: Mapping[str, Json], component: str) -> bool:
    """Whether a stored claim counts for a cause at ``component``; one that was judged before this was asked does not."""
    told = claim.get("verdict") == "verified" and claim.get("idle") == "" and claim.get("role") in SUPPORTING
    return told and component in claim.get("about", ())


def matches(component: str, resource: Resource) -> bool:
    """Whether ``resource`` is the component, or the inventory's labels say that it belongs to it."""
    labels = resource.labels
    own = {resource.id, labels.get("component", ""), labels.get("service", ""), *labels.get("services", "").split()}
    return bool(component) and component in own


def _told(one: Judged) -> dict[str, Json]:
    """A judged claim to keep and to show: its text without figures that the claim itself does not back."""
    told = one.as_json()
    return told | ({"text": backed(one.claim.text, [told])} if one.claim.text else {})
