"""Hypotheses as a model has to state them: typed, three to six, three kinds always among them, each with its refutation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.loop import InputUnfit
from agents.prose import figureless
from agents.rules.faults import FAULTS

Json = Any

KINDS = ("upstream_dependency", "recent_change", "no_fault", "other")
ALWAYS = KINDS[:3]
UNKNOWN = "unknown"
"""A fault that has no name here: no remedy fits it."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One possible cause; ``tool`` and ``given`` are the query that would refute it."""

    id: str
    kind: str
    component: str
    fault: str
    statement: str
    tool: str
    given: Mapping[str, Json]

    def as_json(self) -> dict[str, Json]:
        """What events and finishes say of it."""
        names = ("id", "kind", "component", "fault", "statement")
        return {name: getattr(self, name) for name in names}


def schema(components: Sequence[str], tools: Sequence[str]) -> Mapping[str, Json]:
    """JSON Schema of the input of ``propose``."""
    one = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^h[1-6]$"},
            "kind": {"type": "string", "enum": list(KINDS)},
            "component": {"type": "string", "enum": list(components)},
            "fault": {"type": "string", "enum": [*FAULTS, UNKNOWN]},
            "statement": {"type": "string", "minLength": 1, "maxLength": 400},
            "refuting_query": {
                "type": "object",
                "properties": {"tool": {"type": "string", "enum": list(tools)}, "input": {"type": "object"}},
                "required": ["tool", "input"],
                "additionalProperties": False,
            },
        },
        "required": ["id", "kind", "component", "fault", "statement", "refuting_query"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"hypotheses": {"type": "array", "items": one, "minItems": 3, "maxItems": 6}},
        "required": ["hypotheses"],
        "additionalProperties": False,
    }


def read(given: Mapping[str, Json]) -> list[Hypothesis]:
    """The hypotheses of an input that fits ``schema``; raises ``InputUnfit`` where a kind is missing or an id comes twice."""
    found = [
        Hypothesis(
            one["id"],
            one["kind"],
            one["component"],
            one["fault"],
            figureless(one["statement"]),
            one["refuting_query"]["tool"],
            one["refuting_query"]["input"],
        )
        for one in given["hypotheses"]
    ]
    if missing := [kind for kind in ALWAYS if kind not in {one.kind for one in found}]:
        raise InputUnfit(f"a hypothesis of kind `{missing[0]}` is always needed")
    if len({one.id for one in found}) < len(found):
        raise InputUnfit("two hypotheses have the same id")
    return found
