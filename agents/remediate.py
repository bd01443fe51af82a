"""The step ``diagnosed``: ask for at most one remedy, or hand the incident to people with all that is known.

What may be asked for is the gate's catalogue as it derived it from the diagnosis: the fault fits, the resource and the
arguments are filled in, nothing is left to the asker. Whether it may happen, and how, is policy's to say. From the answer on
the incident is the gate's: it follows the action, verifies, rolls back, escalates.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wicketgate import (
    ApprovalPending,
    GateError,
    LimitExceeded,
    NotAuthenticated,
    NotDone,
    OnlyPlanned,
    Resource,
    Unavailable,
)

from agents.case import OVER, PATIENCE_SECONDS, Case, StepOver
from agents.investigate import Result
from agents.prose import shown
from agents.rules import Query

Json = Any

WAIT_MAX = 900.0
"""Seconds to wait, in all, for another incident, a lease, a cooldown or a limit to let a remedy pass."""
AGAIN_SECONDS = 20.0
BEGUN = frozenset({"action.running", "action.begun", "outcome.unrecorded"})
_PATH = re.compile(r"\$((?:\.[A-Za-z_][A-Za-z0-9_]*)+)")


@dataclass(frozen=True, slots=True)
class Choice:
    """One remedy of the catalogue, and why it is or is not the one."""

    remedy: Mapping[str, Json]
    against: str = ""
    """What speaks against it; empty where it may be asked for."""


async def remediate(case: Case) -> Result:
    """Where the incident goes. Raises ``StepOver``, ``GateError``."""
    if case.detail.asked:
        # Whoever was at this step before, under whatever identity, came as far as to ask.
        return Result("proposed", {"action_id": case.detail.asked})
    if case.detail.incident.until is not None:
        return Result("noise", {"reason": "resolved by itself"})
    diagnosis = held_diagnosis(case)
    if diagnosis is None:
        return Result("escalated", {"reason": "no diagnosis holds"})
    told = evidence_of(diagnosis)
    choices = await weighed(case, diagnosis)
    chosen = next((one for one in choices if not one.against), None)
    told["remedies"] = [{"action": one.remedy["action"], "against": one.against} for one in choices]
    if chosen is None:
        return Result("escalated", {"reason": "no remedy fits", **told})
    return await _asked(case, diagnosis, chosen.remedy, told)


def held_diagnosis(case: Case) -> Mapping[str, Json] | None:
    """The diagnosis that the incident stands on."""
    named = case.detail.incident.diagnosis
    found = (one for one in case.detail.diagnoses if named in {one.get("id"), one.get("diagnosis")})
    return next(found, None) if named else None


def evidence_of(diagnosis: Mapping[str, Json]) -> dict[str, Json]:
    """What people are told: cause, verified claims, what was ruled out. Figures are the gate's."""
    claims = diagnosis.get("claims", ())
    cause = dict(diagnosis.get("cause", {}))
    cause["summary"] = shown(str(cause.get("summary", "")), claims)
    names = ("observation", "selector", "op", "value", "actual", "text", "role", "verdict")
    verified = [
        {name: one[name] for name in names if name in one} for one in claims if one.get("verdict") == "verified"
    ]
    return {"cause": cause, "evidence": verified[:16], "ruled_out": list(diagnosis.get("ruled_out", ()))[:16]}


async def weighed(case: Case, diagnosis: Mapping[str, Json]) -> list[Choice]:
    """The remedies for this fault, best first: what helped before, what can be undone, what can be repeated."""
    fault = str(diagnosis["cause"]["fault"])
    fitting = [one for one in case.detail.remedies if fault in one["faults"]]
    choices = [Choice(one, await _against(case, one)) for one in fitting]
    helped = helped_before(case.detail.memory, diagnosis)

    def rank(choice: Choice) -> tuple[Json, ...]:
        one = choice.remedy
        undone = (
            ("reversible", "compensable").index(one["reversibility"]) if one["reversibility"] != "irreversible" else 2
        )
        return one["action"] not in helped, undone, not one["idempotent"], not one.get("preconditions"), one["action"]

    return sorted(choices, key=rank)


def helped_before(memory: Sequence[Mapping[str, Json]], diagnosis: Mapping[str, Json]) -> frozenset[str]:
    """Actions that ended this fault of this component before."""
    cause = diagnosis["cause"]
    alike = [
        one
        for one in memory
        if (one.get("component"), one.get("fault")) == (cause["component"], cause["fault"])
        and one.get("outcome") == "mitigated"
    ]
    return frozenset(str(remedy["action"]) for one in alike for remedy in one.get("remedies", ()))


async def _against(case: Case, remedy: Mapping[str, Json]) -> str:
    """What speaks against asking for it; empty for nothing."""
    if remedy.get("open"):
        return f"the diagnosis gives no {remedy['open'][0]}"
    target = remedy["resource"]
    for one in remedy.get("preconditions", ()):
        if one["action"] not in case.actions:
            continue  # the gate looks itself
        query = Query(one["action"], target["type"], target["id"], target["env"], one["arguments"])
        seen = await case.read(query)
        if seen.status not in {"ok", "truncated"}:
            return f"{one['action']} does not answer"
        if not _holds(seen.value, one):
            return f"{one['selector']} {one['op']} {one['value']} does not hold"
    return ""


def _holds(value: Json, condition: Mapping[str, Json]) -> bool:
    """Whether a plain condition holds; any other selector or operator is left to the gate, which checks them all."""
    path = _PATH.fullmatch(condition["selector"])
    if path is None or condition["op"] not in {"eq", "ne"}:
        return True
    for name in path[1].strip(".").split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return (value == condition["value"]) is (condition["op"] == "eq")


async def _asked(
    case: Case, diagnosis: Mapping[str, Json], remedy: Mapping[str, Json], told: Mapping[str, Json]
) -> Result:
    """Ask the gate for it; its answer is where the incident goes."""
    request = {"remedy": remedy["action"], "resource": remedy["resource"], "arguments": remedy["arguments"]}
    tried: dict[str, Json] = {**request, "diagnosis": case.detail.incident.diagnosis}
    key = case.key(tried)
    case.tell("remedy", **request)
    waited = 0.0
    while True:
        try:
            done = await _act(case, remedy, diagnosis, key)
        except (ApprovalPending, NotDone) as stands:
            # It waits, or it ran and failed: both are the gate's to follow, by the action's records.
            return Result("proposed", {**told, "action_id": stands.action_id, "tried": tried})
        except OnlyPlanned:
            return Result("escalated", {"reason": "policy allows a dry run only", **told, "tried": tried})
        except GateError as error:
            if isinstance(error, NotAuthenticated | Unavailable) and error.code not in BEGUN:
                raise
            pause = max(1.0, error.retry_after or AGAIN_SECONDS)
            waited += pause
            if not _comes_again(error) or waited > WAIT_MAX:
                refusal = {"code": error.code, "reasons": [one.code for one in error.reasons]}
                refused = {"reason": "the gate refused the remedy", "tried": tried, "refusal": refusal}
                return Result("escalated", {**told, **refused})
            await case.pause(pause)
            now = (await case.again()).incident
            if now.state != case.detail.incident.state:
                raise StepOver(f"state.{now.state}") from error
            if now.until is not None:
                return Result("noise", {"reason": "resolved by itself", **told})
        else:
            return Result("proposed", {**told, "action_id": done, "tried": tried})


async def _act(case: Case, remedy: Mapping[str, Json], diagnosis: Mapping[str, Json], key: str) -> str:
    """The action's id. Raises what must end the step, and the gate's refusals."""
    target, cause = remedy["resource"], diagnosis["cause"]
    try:
        done = await case.gate.act(
            remedy["action"],
            Resource(target["type"], target["id"], target["env"]),
            remedy["arguments"],
            reason=f"{cause['fault']} of {cause['component']}, incident {case.id}",
            session=case.session,
            diagnosis=case.detail.incident.diagnosis,
            work={"id": case.claimed.work, "fence": case.claimed.fence},
            key=key,
            patience=PATIENCE_SECONDS,
        )
    except GateError as error:
        if error.code in OVER:
            raise StepOver(error.code) from error
        if error.code == "incident.acted":
            return (await case.again()).asked
        raise
    return done.action_id


def _comes_again(error: GateError) -> bool:
    """Whether the same request may be answered otherwise in a while: a limit, a lease, another incident, its own run."""
    return isinstance(error, LimitExceeded) or error.code in BEGUN or error.retry_after is not None
