"""What the rules see: the incident's facts, and bounded reads through the gate. Nothing else reaches a rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = Any


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
    """Component -> type of its resource."""
    edges: Sequence[tuple[str, str]] = ()
    """(from, to): ``from`` depends on ``to``."""
    memory: Sequence[Mapping[str, Json]] = ()
    """Past traces, best first."""
    resolved: bool = False

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
