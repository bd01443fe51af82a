"""What an investigation ends with, and the wire form of its claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Required, TypedDict, Unpack

Json = Any
Claim = Mapping[str, Json]
"""As ``POST /v1/incidents/{id}/diagnoses`` takes it."""


class Said(TypedDict, total=False):
    """The fields of a claim beside what it asks of which observation; empty ones are left out."""

    text: Required[str]
    role: str
    component: str
    at: str
    tolerance: str


def claim(observation: str, selector: str, op: str, value: Json = None, **said: Unpack[Said]) -> Claim:
    """One claim as it goes over the wire; its role is ``cause`` where none is said."""
    made: dict[str, Json] = {"observation": observation, "selector": selector, "op": op}
    made |= {"value": value} if op not in {"exists", "absent"} else {}
    return made | {"role": "cause"} | {name: field for name, field in said.items() if field}


UNKNOWN = "unknown"
"""The fault of what nobody could explain."""
UNEXPLAINED_MAX = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible cause. ``score_milli`` orders candidates of one finding and means nothing outside of it."""

    component: str
    fault: str
    score_milli: int
    claims: Sequence[Claim]
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Ruled:
    """A cause that the evidence speaks against, with the claims that do."""

    component: str
    fault: str
    claims: Sequence[Claim]
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result: ``verdict`` is ``sure``, ``abstain`` or ``healthy``."""

    verdict: str
    ranked: Sequence[Candidate] = ()
    checked: Sequence[str] = ()
    ruled_out: Sequence[Ruled] = ()
    why: str = ""
    healthy: Sequence[Claim] = ()
    """For ``healthy``: what was checked and found well."""
    symptoms: Sequence[Claim] = ()
    """What shows that something is wrong, whatever it is."""

    def diagnosis(self, place: int = 0) -> Mapping[str, Json]:
        """The body that submits the candidate at ``place``; what was ruled out goes along as context."""
        chosen = self.ranked[place]
        claims = list(chosen.claims)
        ruled = []
        for one in self.ruled_out:
            if (one.component, one.fault) == (chosen.component, chosen.fault):
                continue
            ruled.append(
                {
                    "component": one.component,
                    "fault": one.fault,
                    "claims": list(range(len(claims), len(claims) + len(one.claims))),
                    "why": one.why,
                }
            )
            claims += one.claims
        cause = {"component": chosen.component, "fault": chosen.fault, "summary": chosen.summary}
        return {"claims": claims, "cause": cause, "ruled_out": ruled}

    def unexplained(self, component: str) -> Mapping[str, Json]:
        """The body that has the gate judge what was seen at ``component`` without naming a cause.

        Nothing in it is a cause, so that it never makes a diagnosis; empty where nothing was seen.
        """
        led = self.ranked[0].claims if self.ranked else ()
        seen = {
            tuple(sorted(map(str, {**one, "role": "symptom", "text": ""}.items()))): one
            for one in (*led, *self.symptoms)
        }
        claims: list[Claim] = [{**one, "role": "symptom"} for one in list(seen.values())[:UNEXPLAINED_MAX]]
        if not claims:
            return {}
        ruled = []
        for one in self.ruled_out:
            places = list(range(len(claims), len(claims) + len(one.claims)))
            ruled.append({"component": one.component, "fault": one.fault, "claims": places, "why": one.why})
            claims += one.claims
        cause = {"component": component, "fault": UNKNOWN, "summary": self.why}
        return {"claims": claims, "cause": cause, "ruled_out": ruled}
