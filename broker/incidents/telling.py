"""Timeline and post-mortem: rendered from events, verdicts and records, and from nothing else.

What is not on record is said to be so. Texts that anybody may have written are escaped, so that they stay text in
Markdown.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from broker.model import Json
from broker.store.diagnoses import DiagnosisRow
from broker.store.incidents import Event, Incident

NOT_ON_RECORD = "Not on record."
SEVERITIES = {1: "info", 2: "warning", 3: "high", 4: "critical"}
_MARKS = re.compile(r"([\\`*_{}\[\]()<>#+!|~&-])")
_TOLD = ("text", "reason", "why", "component", "fault", "action_id", "diagnosis", "into", "incident", "service", "to")
"""Fields of an event's body that a line of the timeline shows, in this order."""


def markdown(facts: Mapping[str, Json]) -> str:
    """Write a post-mortem's facts as Markdown."""
    incident, impact, found = facts["incident"], facts["impact"], facts["diagnosis"]
    severity = SEVERITIES[incident["severity"]]
    missing = [f"{count} of {name.replace('_', ' ')}" for name, count in facts["left_out"].items() if count]
    parts = [
        f"# {plain(incident['title'])}",
        (
            f"Incident {code(incident['id'])} on {code(incident['service'])} in {code(incident['env'])}, severity {severity}, "
            f"state {code(incident['state'])}, outcome {code(facts['outcome'])}."
        ),
        *(
            [f"Too long for one page, left out here: {', '.join(missing)}. The timeline has all, part by part."]
            * bool(missing)
        ),
        "## Impact",
        _list(
            f"{code(one['id'])} (distance {one['distance']}"
            + (f", {len(one['incidents'])} open incidents)" if one["incidents"] else ")")
            for one in impact.get("affected", [])
        ),
        "## Cause",
        _cause(found),
        "## Ruled out",
        _list(
            f"{plain(one.get('component', ''))}: {plain(one.get('fault', ''))}. {plain(one.get('why', ''))}"
            for one in facts["ruled_out"]
        ),
        "## Actions",
        _list(_action_line(one) for one in facts["actions"]),
        f"{facts['reads']} reads on record.",
        "## People",
        _list(f"{when(one['at'])} {code(one['by'])} {plain(one['text'])}" for one in facts["people"]),
        "## Timeline",
        markdown_timeline(facts["timeline"]),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_timeline(lines: Iterable[Mapping[str, Json]]) -> str:
    """Write a timeline as a Markdown list."""
    return _list(
        f"{when(line['at'])} {code(line['kind'])} by {code(line['by'])}: {plain(line['text'])}" for line in lines
    )


def when(at: int) -> str:
    """An instant in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def plain(text: object) -> str:
    """Text on one line that means nothing to Markdown or HTML."""
    return _MARKS.sub(r"\\\1", " ".join(str(text).split()))


def code(text: object) -> str:
    """A name as code."""
    return f"`{' '.join(str(text).replace('`', chr(39)).split()) or '-'}`"


def line_of_event(event: Event) -> dict[str, Json]:
    """An event as a line of the timeline."""
    line = line_of(event)
    return {
        "at": event.at,
        "what": "event",
        "kind": event.kind,
        "by": event.actor,
        "text": line["text"],
        "ref": event.id,
    }


def line_of(event: Event) -> dict[str, Json]:
    """One event in words of its own fields."""
    told = [f"{name}: {event.body[name]}" for name in _TOLD if event.body.get(name)]
    if event.from_state != event.to_state:
        told.insert(0, f"{event.from_state} to {event.to_state}")
    return {"at": event.at, "by": event.actor, "kind": event.kind, "text": "; ".join(told) or event.kind}


def line_of_diagnosis(row: DiagnosisRow) -> dict[str, Json]:
    """A diagnosis as a line of the timeline."""
    text = f"{row.verdict}: {row.component} {row.fault}; {row.verified} claims verified, {row.refuted} refuted"
    return {"at": row.at, "what": "diagnosis", "kind": row.verdict, "by": "gate", "text": text, "ref": row.id}


def line_of_action(action: Mapping[str, Json]) -> dict[str, Json]:
    """An action on record as a line of the timeline."""
    resource = action.get("resource") or {}
    return {
        "at": _at(action),
        "what": "action",
        "kind": str(action.get("effect", "read")),
        "by": str(action.get("by", "")),
        "text": f"{action.get('action', '')} on {resource.get('id', '')}: {action.get('status', '')}",
        "ref": str(action.get("action_id", "")),
    }


def _at(action: Mapping[str, Json]) -> int:
    return int(action.get("at") or 0)


def diagnosis_of(row: DiagnosisRow | None) -> dict[str, Json] | None:
    """A diagnosis with its claims and their verdicts."""
    if row is None:
        return None
    return {
        "id": row.id,
        "verdict": row.verdict,
        "component": row.component,
        "fault": row.fault,
        "confidence_milli": row.confidence_milli,
        "claims": [dict(claim) for claim in row.claims],
        "missing": [dict(one) for one in row.missing],
    }


def durations_of(stands: Incident, events: Sequence[Event]) -> dict[str, int | None]:
    """Seconds from the alert's beginning to each step that was reached."""
    first: dict[str, int] = {}
    for event in events:
        first.setdefault(event.to_state, event.at)
    steps = ("triaging", "diagnosed", "executing", "mitigated", "escalated", "closed")
    return {name: first[name] - stands.since if name in first else None for name in steps}


def _cause(found: Mapping[str, Json] | None) -> str:
    """What was found, with each claim and its verdict."""
    if found is None:
        return NOT_ON_RECORD
    head = (
        f"{code(found['component'])}: {plain(found['fault'])} ({code(found['verdict'])}, confidence "
        f"{found['confidence_milli']}/1000)."
    )
    claims = _list(
        f"{plain(one.get('text') or one.get('selector', ''))} {code(one.get('verdict', ''))} "
        f"(observation {code(one.get('observation', ''))})"
        for one in found["claims"]
    )
    missing = "".join(f"\n- missing: {plain(one.get('code', ''))}" for one in found["missing"])
    return f"{head}\n\n{claims}{missing}"


def _action_line(action: Mapping[str, Json]) -> str:
    """One write and what came of it."""
    resource = action.get("resource") or {}
    told = f"{when(_at(action))} {code(action.get('action', ''))} on {code(resource.get('id', ''))}"
    outcome = action.get("outcome") or action.get("status") or ""
    return f"{told}: {plain(outcome) or NOT_ON_RECORD} ({code(action.get('action_id', ''))})"


def _list(lines: Iterable[str]) -> str:
    """A Markdown list, or the word that there is nothing."""
    return "\n".join(f"- {line}" for line in lines) or NOT_ON_RECORD
