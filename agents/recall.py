"""What was found before, checked again: the claims of a past trace on fresh observations, judged by the gate.

A trace proves nothing by itself; it says what to ask first. Its queries are asked again for this incident's window, and its
claims are put on the new answers. Only if the gate finds enough of them true is it the same as before, and costs no model.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wicketgate import Diagnosis, GateError

from agents.case import Case
from agents.rules import Finding, Query

Json = Any

FORGET = frozenset({"noise", "rolled_back"})
"""Outcomes after which a trace is nothing to follow: there was no fault, or the remedy did not help."""
TRACES_MAX = 3
TIMES = frozenset({"since_s", "until_s", "start_s", "end_s", "at_s"})
"""Arguments that move along with the incident."""
CLAIM = ("selector", "op", "value", "tolerance", "role", "component", "text")


def held(finding: Finding, memory: Sequence[Mapping[str, Json]]) -> bool:
    """Whether the rules' sure leader is what an earlier incident was found to be."""
    if finding.verdict != "sure" or not finding.ranked:
        return False
    leader = finding.ranked[0]
    return (leader.component, leader.fault) in {_cause(one) for one in memory if _counts(one)}


async def recall(case: Case, said: Sequence[Mapping[str, Json]]) -> tuple[Mapping[str, Json], Diagnosis] | None:
    """The first past cause that the gate finds again, with what was submitted. Raises ``StepOver``, ``GateError``."""
    out = {(one.get("component"), one.get("fault")) for one in said if one["kind"] == "rule_out"}
    known = [one for one in case.facts.memory if _counts(one) and _cause(one) not in out]
    for trace in known[:TRACES_MAX]:
        claims = [claim async for claim in _fresh(case, trace)]
        if len(claims) < 2:
            continue
        component, fault = _cause(trace)
        cause = {"component": component, "fault": fault, "summary": "the same as in an earlier incident"}
        body = {"cause": cause, "claims": claims, "ruled_out": []}
        try:
            judged = await case.diagnose(body)
        except GateError as error:
            if error.status not in {400, 403, 422}:
                raise
            continue
        if judged.verdict == "diagnosed":
            return body, judged
    return None


async def _fresh(case: Case, trace: Mapping[str, Json]) -> Any:
    """The trace's claims on new observations; one that names an instant or an exact text of then is left out."""
    for claim, query in _askable(case, trace):
        seen = await case.read(query)
        if seen.status in {"ok", "truncated"} and seen.observation:
            kept = {name: claim[name] for name in CLAIM if claim.get(name) not in (None, "")}
            yield {**kept, "observation": seen.observation}


def _askable(case: Case, trace: Mapping[str, Json]) -> Iterator[tuple[Mapping[str, Json], Query]]:
    shift = case.detail.incident.since - int(trace.get("since", 0))
    for claim in trace.get("claims", ()):
        asked = claim.get("query")
        exact = claim.get("op") == "eq" and isinstance(claim.get("value"), str)
        dated = claim.get("at") or "since(" in str(claim.get("selector")) or "until(" in str(claim.get("selector"))
        if not asked or exact or dated or claim.get("verdict") != "verified" or asked["action"] not in case.actions:
            continue
        resource = asked["resource"]
        if resource.get("env") != case.facts.env:
            continue
        arguments = {
            name: value + shift if name in TIMES and isinstance(value, int) else value
            for name, value in (asked.get("arguments") or {}).items()
        }
        yield claim, Query(asked["action"], resource["type"], resource["id"], resource["env"], arguments)


def _counts(trace: Mapping[str, Json]) -> bool:
    return bool(trace.get("component")) and bool(trace.get("fault")) and trace.get("outcome") not in FORGET


def _cause(trace: Mapping[str, Json]) -> tuple[str, str]:
    return str(trace.get("component", "")), str(trace.get("fault", ""))
