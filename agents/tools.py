"""The tools that a model is given: the catalog's reads of this incident's components, and nothing else.

Definitions come from the gate's catalog (title and JSON Schema of each action), resources from the incident's topology, so
the list is closed: what is not in it cannot be asked for. Each answer is a summary of bounded size with the handle of the
observation that the gate kept.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agents.brief import brief
from agents.case import Case, Offered
from agents.loop import InputUnfit, LoopTool, check
from agents.prose import figureless
from agents.rules import PLACES, Query, Seen

Json = Any

CLAIMS_MAX = 20
ID_PATTERN = "^obs_[a-z0-9]{1,40}$"
CLAIM_SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {
        "observation": {"type": "string", "pattern": ID_PATTERN},
        "selector": {"type": "string", "minLength": 1, "maxLength": 512},
        "op": {
            "type": "string",
            "enum": ["eq", "ne", "gt", "ge", "lt", "le", "contains", "not_contains", "matches", "exists", "absent"],
        },
        "value": {"type": ["string", "integer", "boolean", "null"], "description": "a decimal number is text"},
        "tolerance": {"type": "string"},
        "role": {"type": "string", "enum": ["cause", "symptom", "prediction", "context"]},
        "component": {"type": "string", "maxLength": 256},
        "at": {"type": "string", "maxLength": 512},
        "text": {"type": "string", "maxLength": 400, "description": "what it means, in words without figures"},
    },
    "required": ["observation", "selector", "op", "role", "text"],
    "additionalProperties": False,
}
CLAIMS_SCHEMA: Mapping[str, Json] = {"type": "array", "items": CLAIM_SCHEMA, "maxItems": CLAIMS_MAX}


class Reads:
    """The reads of one conversation; ``seen`` holds what came back, by observation."""

    def __init__(self, case: Case) -> None:
        """Everything is asked for in the case's session."""
        self._case = case
        self.seen: dict[str, Seen] = {}
        self._by_name = {one.name.replace(".", "_"): one for one in case.offered if _resources(case, one)}

    def tools(self) -> list[LoopTool]:
        """One tool an action."""
        return [self._tool(name, one) for name, one in sorted(self._by_name.items())]

    @property
    def names(self) -> list[str]:
        """Names of the tools."""
        return sorted(self._by_name)

    async def ask(self, name: str, given: Mapping[str, Json]) -> Mapping[str, Json]:
        """Carry out one read; raises ``InputUnfit``."""
        one = self._by_name.get(name)
        if one is None:
            raise InputUnfit(f"there is no tool `{name[:64]}`; choose one of {', '.join(self.names)}")
        check(self._schema(one), given)
        kind, _, name_ = str(given["resource"]).partition(":")
        arguments = {key: value for key, value in given.items() if key != "resource"}
        seen = await self._case.read(Query(one.name, kind, name_, self._case.facts.env, arguments))
        if seen.observation:
            self.seen[seen.observation] = seen
        return brief(seen)

    def _tool(self, name: str, one: Offered) -> LoopTool:
        async def call(given: Mapping[str, Json]) -> Json:
            return await self.ask(name, given)

        return LoopTool(name, one.title, self._schema(one), call)

    def _schema(self, one: Offered) -> Mapping[str, Json]:
        """The action's arguments, and on what."""
        schema = one.arguments
        return {
            "type": "object",
            "properties": {
                "resource": {"type": "string", "enum": _resources(self._case, one)},
                **schema.get("properties", {}),
            },
            "required": ["resource", *schema.get("required", ())],
            "additionalProperties": False,
        }


def _resources(case: Case, one: Offered) -> list[str]:
    """``type:id`` of everything of this incident's environment that the action may read."""
    nodes = case.facts.nodes
    components = case.facts.components
    found = []
    for kind in one.types:
        exact = [name for name, known in nodes.items() if known == kind]
        # A component's repository or logs may go by the component's own name.
        found += [f"{kind}:{name}" for name in (exact if kind in PLACES and exact else [*exact, *components])]
    return list(dict.fromkeys(found))


def claims_of(given: Sequence[Mapping[str, Json]], cited: Collection[str]) -> list[dict[str, Json]]:
    """The claims of a submission, in words without figures; raises ``InputUnfit`` for one that cites what was not read."""
    for number, one in enumerate(given):
        if one["observation"] not in cited:
            raise InputUnfit(f"field `claims[{number}].observation` names nothing that was read here")
    return [{**one, "text": figureless(one["text"])} for one in given]
