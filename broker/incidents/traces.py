"""What an incident leaves for the next one: how it was looked into, what was ruled out and why, what helped.

A trace is made of events, verdicts and outcomes only. What the next investigation reads in it is checked again by its
claims before it counts; a trace whose remedy did not help loses weight.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from broker.model import Json
from broker.store.diagnoses import DiagnosisRow
from broker.store.incidents import Event, Incident
from broker.store.traces import Trace

FORMAT = "incident.trace/v1"
FIRST = 8
"""How many of the first looks a trace keeps."""
NOTES = 16
"""How many of people's latest notes it keeps, beside everything else that they did."""
WORTH = {"mitigated": 1_000, "handled": 700, "noise": 600, "escalated": 400, "rolled_back": 150}
"""Weight of a trace by its outcome, in thousandths."""
HALF_LIFE_S = 90 * 86_400


def outcome_of(events: Iterable[Event]) -> str:
    """How it ended, by the states that it went through.

    ``mitigated`` (verified), ``rolled_back`` (the remedy did not help), ``handled`` (a person ended it), ``escalated``
    (people were called and nothing more is known), ``noise``.
    """
    seen = [event.to_state for event in events if event.to_state != event.from_state]
    last = next((state for state in reversed(seen) if state not in {"learning", "closed"}), "")
    if last == "human_hold":
        return "handled"
    if "rolled_back" in seen and last == "escalated":
        return "rolled_back"
    return last if last in WORTH else "escalated"


def trace_of(  # noqa: PLR0913 - one keyword a source
    stands: Incident,
    *,
    events: Sequence[Event],
    diagnoses: Sequence[DiagnosisRow],
    writes: Sequence[Mapping[str, Json]],
    actions: Sequence[Mapping[str, Json]],
    at: int,
) -> Trace:
    """Build the trace of an incident that is over.

    ``actions`` are its actions on record, oldest first: ``{"action_id", "observation", "action", "resource",
    "arguments", "effect", "status", "at"}``. Times in arguments are as they were: ``since`` says when the alert began.
    """
    held = next((row for row in reversed(diagnoses) if row.id == stands.diagnosis), None)
    corrected: Mapping[str, Json] = next((e.body for e in reversed(events) if e.kind == "correct"), {})
    cause = {
        "component": str(corrected.get("component") or (held.component if held else "")),
        "fault": str(corrected.get("fault") or (held.fault if held else "")),
    }
    outcome = outcome_of(events)
    by_observation = {str(action.get("observation", "")): action for action in actions}
    told: dict[str, Json] = {
        "format": FORMAT,
        "incident": stands.id,
        "title": stands.title,
        "since": stands.since,
        "opened_at": stands.opened_at,
        "outcome": outcome,
        "cause": cause,
        "corrected": bool(corrected),
        "first": [_look(action) for action in actions if action.get("effect") != "write"][:FIRST],
        "claims": [_claim(claim, by_observation) for claim in (held.claims if held else ())],
        "ruled_out": _ruled_out(events, diagnoses),
        "overrides": [_override(event) for event in _of_people(events)],
        "remedies": [_remedy(write, actions) for write in writes],
    }
    return Trace(
        tenant=stands.tenant,
        id=stands.id,
        fingerprint=stands.fingerprint,
        service=stands.service,
        env=stands.env,
        fault=cause["fault"],
        component=cause["component"],
        outcome=outcome,
        trace=told,
        at=at,
    )


def ranked(  # noqa: PLR0913 - one keyword a trait
    traces: Iterable[Trace], *, fingerprint: str, service: str, env: str, fault: str, now_s: int, limit: int
) -> list[dict[str, Json]]:
    """Best first: what is most alike, helped, and is young. A remedy's failures weigh on all traces that share it."""
    found = list(traces)
    track: dict[tuple[str, str, str], tuple[int, int]] = {}
    for one in found:
        good, all_ = track.get(_skill(one), (0, 0))
        track[_skill(one)] = (good + (one.outcome in {"mitigated", "handled", "noise"}), all_ + 1)

    def score(one: Trace) -> int:
        alike = 1_000 if one.fingerprint == fingerprint and fingerprint else 0
        alike += 600 if one.service == service else 0
        alike += 400 if fault and one.fault == fault else 0
        good, all_ = track[_skill(one)]
        weight = alike * WORTH.get(one.outcome, 100) // 1_000 * (good + 1) // (all_ + 1)
        age = max(0, now_s - one.at)
        weight = weight * HALF_LIFE_S // (HALF_LIFE_S + age)
        return weight if not env or one.env == env else weight // 2

    best = sorted(found, key=lambda one: (-score(one), -one.at, one.id))[:limit]
    return [
        {
            **one.trace,
            "score": score(one),
            "at": one.at,
            "fingerprint": one.fingerprint,
            "service": one.service,
            "env": one.env,
            "component": one.component,
            "fault": one.fault,
        }
        for one in best
    ]


def _skill(one: Trace) -> tuple[str, str, str]:
    """What a track record belongs to: this fault of this component, met with this remedy."""
    remedies: Sequence[Mapping[str, Any]] = one.trace.get("remedies") or ()
    return one.component, one.fault, str(remedies[-1]["action"]) if remedies else ""


def _look(action: Mapping[str, Json]) -> dict[str, Json]:
    """One query as it can be asked again."""
    return {name: action.get(name) for name in ("action", "resource", "arguments", "status")}


def _claim(claim: Mapping[str, Json], by_observation: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    """A claim with the query behind its observation, where that is on record."""
    asked = by_observation.get(str(claim.get("observation", "")))
    return {**claim, "query": _look(asked) if asked else None}


def _ruled_out(events: Sequence[Event], diagnoses: Sequence[DiagnosisRow]) -> list[dict[str, Json]]:
    """Causes that were excluded: by agents with the claims that speak against them, by people in their words."""
    found: list[dict[str, Json]] = []
    for row in diagnoses:
        for rival in row.ruled_out:
            numbers = [n for n in rival.get("claims", []) if isinstance(n, int) and 0 <= n < len(row.claims)]
            found.append(
                {
                    "component": rival.get("component", ""),
                    "fault": rival.get("fault", ""),
                    "why": rival.get("why", ""),
                    "by": "agent",
                    "claims": [dict(row.claims[number]) for number in numbers],
                }
            )
    for event in events:
        if event.kind == "rule_out":
            said = {name: event.body.get(name, "") for name in ("component", "fault", "text")}
            found.append({**said, "by": event.actor, "claims": []})
    return found


def _of_people(events: Sequence[Event]) -> list[Event]:
    """What people did, in order; of their notes the latest."""
    theirs = [event for event in events if event.by_people]
    notes = [event.seq for event in theirs if event.kind == "note"]
    left_out = set(notes[:-NOTES])
    return [event for event in theirs if event.seq not in left_out]


def _override(event: Event) -> dict[str, Json]:
    """What a person did, in the order of events."""
    return {"kind": event.kind, "by": event.actor, "at": event.at, "from": event.from_state, "body": dict(event.body)}


def _remedy(write: Mapping[str, Json], actions: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """A write on a target, and what verification found of it."""
    asked = next((one for one in actions if one.get("action_id") == write["action_id"]), {})
    return {
        "action": write["action"],
        "action_id": write["action_id"],
        "target": write["target"],
        "resource": asked.get("resource"),
        "arguments": asked.get("arguments"),
        "at": write["at"],
        "outcome": write["outcome"],
    }
