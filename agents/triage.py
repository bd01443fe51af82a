"""The step ``triaging``: is this worth an investigation, or is it over, or another incident's?

By rule, from what the gate tells of the incident: no query, no model. What is over by itself is noise. A live incident of
something that this service needs is the same trouble seen from below: this one is linked into it, and stands up again if
its alert outlives the other. (The gate does so itself where the other came first.) A mild alert gets a moment to end by itself. An alert that comes and goes is not noise
for that; it is marked, and the investigation looks. Past traces are checked again there: none ends an incident unseen.
"""

from typing import Any

from wicketgate import GateError, Incident

from agents.case import Case, known, raise_if_over
from agents.investigate import Result

Json = Any

MILD = 2
"""Incidents of at most this severity (a warning) are given a moment before anybody looks."""
SETTLE_SECONDS = 10.0
SETTLE_LOOKS = 5
FLAPPING = 3
"""So many returns of an alert that had ended make it a flapping one."""
QUIET = frozenset({"noise", "mitigated", "learning", "closed", "linked"})
"""States in which an incident takes nothing in any more."""


async def triage(case: Case) -> Result:
    """Where the incident goes. Raises ``StepOver``, ``GateError``."""
    incident = case.detail.incident
    if incident.severity <= MILD and incident.until is None:
        incident = await settled(case)
    came_back = sum(1 for event in known(case.detail) if event.get("kind") == "fired_again")
    told: dict[str, Json] = {"flapping": came_back >= FLAPPING, "came_back": came_back, "past": len(case.detail.memory)}
    if incident.until is not None:
        return Result("noise", {"reason": "resolved by itself", **told})
    upstream = await above(case)
    if upstream:
        return Result("linked", {"reason": "an incident of what this service needs is live", "into": upstream, **told})
    seen_before = [str(one.get("fault", "")) for one in case.detail.memory[:3]]
    return Result("investigating", {"reason": "a signal", "seen_before": seen_before, **told})


async def settled(case: Case) -> Incident:
    """A mild alert, after it had a moment to end by itself: most that end do so at once."""
    incident = case.detail.incident
    for _ in range(SETTLE_LOOKS):
        await case.pause(SETTLE_SECONDS / SETTLE_LOOKS)
        incident = (await case.again()).incident
        if incident.until is not None:
            break
    return incident


async def above(case: Case) -> str:
    """The live incident of the nearest thing that this service depends on; empty for none."""
    try:
        impact = await case.gate.incidents.impact(case.id, session=case.session)
    except GateError as error:
        raise_if_over(error)
        return ""
    for component in sorted(impact.get("depends_on", ()), key=lambda one: (one["distance"], one["id"])):
        live = sorted(str(one["id"]) for one in component["incidents"] if one["state"] not in QUIET)
        if live:
            return live[0]
    return ""
