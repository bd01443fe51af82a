"""What the rules see: the incident's facts, and bounded reads through the gate. Nothing else reaches a rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = Any
PLACES = frozenset(
    {"prometheus", "repository", "replay", "model", "gate", "alertmanager", "notify", "webhook", "project", "tickets"}
)
"""Types of resources that hold what many components say: an action on one reads only resources of exactly that type."""
KEPT = frozenset({"config", "logs"})
"""Types of what belongs to a component; under a name of its own it is one only where an edge ties it to others."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The incident as the gate tells it; ``since`` and ``until`` are unix seconds, half open."""

    id: str
    title: str
    service: str
    env: str
    since: int
    until: int
    severity: int = 2
    alert: Mapping[str, Json] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Name -> type of its resource; ``components`` are those that can be at fault."""
    edges: Sequence[tuple[str, str]] = ()
    """(from, to): ``from`` depends on ``to``."""
    memory: Sequence[Mapping[str, Json]] = ()
    """Past traces, best first."""
    resolved: bool = False

    @property
    def components(self) -> Mapping[str, str]:
        """The nodes that can be at fault: no mere places, as the gate's judge tells them apart."""
        tied = {name for edge in self.edges for name in edge}
        return {
            name: kind for name, kind in self.nodes.items() if kind not in PLACES and (kind not in KEPT or name in tied)
        }

    def behind(self, component: str) -> tuple[str, ...]:
        """What ``component`` depends on directly, in the order of the edges."""
        return tuple(dict.fromkeys(to for one, to in self.edges if one == component))

    def depends(self, upper: str, lower: str) -> bool:
        """True where ``upper`` depends on ``lower``, over any number of steps."""
        seen, open_ = {upper}, [upper]
        while open_:
            for to in self.behind(open_.pop()):
                if to == lower:
                    return True
                if to not in seen:
                    seen.add(to)
                    open_.append(to)
        return False


@dataclass(frozen=True, slots=True)
class Query:
    """One read: an action on a resource (``type``, ``id``, ``env``). ``source`` and ``signal`` where they are known."""

    action: str
    type: str
    id: str
    env: str
    arguments: Mapping[str, Json] = field(default_factory=dict)
    source: str = ""
    signal: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer: ``status`` is ``ok``, ``empty``, ``truncated`` or ``error``; ``observation`` is what claims cite."""

    query: Query
    status: str
    value: Json = None
    observation: str = ""


class View(Protocol):
    """What the caller of the rules brings."""

    facts: Facts
    actions: frozenset[str]
    """Names of the read actions that may be asked for."""

    async def read(self, query: Query) -> Seen:
        """One bounded read; what was refused or failed is a ``Seen`` with status ``error``."""
