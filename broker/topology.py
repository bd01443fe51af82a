"""Which component depends on which, from the inventory: impact, paths, owners.

A component is a name in one environment as one tenant sees it; inventory items of several types that share a name
(the process, its logs, its repository) are one component. ``depends_on`` names components of the same environment.
Some names are no component but a place where things are kept or measured: a repository, a recorded case, a metric server,
a configuration file or a log that nothing in the topology is tied to. Nothing is at fault there.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from broker.config import InventoryItem, Settings
from broker.errors import BadRequest
from broker.model import Json

Edges = Mapping[str, tuple[str, ...]]
PLACES = frozenset(
    {"prometheus", "repository", "replay", "model", "gate", "alertmanager", "notify", "webhook", "project", "tickets"}
)
"""Types of resources that hold what many components say, and are none themselves."""
KEPT = frozenset({"config", "logs"})
"""Types of what belongs to a component; under a name of its own it is one only where the topology ties it to others."""


def _rank(kind: str) -> int:
    """Of the types that share a name the highest says what it is: a component, what belongs to one, a mere place."""
    return 0 if kind in PLACES else 1 if kind in KEPT else 2


def is_place(kind: str, *, tied: bool) -> bool:
    """Whether a name of this type is no component; ``tied``: it depends on something, or something on it."""
    return kind in PLACES or (kind in KEPT and not tied)


@dataclass(frozen=True, slots=True)
class Component:
    """One name: what it is, and who owns it."""

    id: str
    env: str
    type: str
    """The first of its items' types that say most: one of a component, else of what belongs to one, else of a place."""
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The components of one environment as one tenant sees them. Answers about a name that it lacks are empty."""

    components: Mapping[str, Component] = field(default_factory=dict)
    needs: Edges = field(default_factory=dict)
    """Component -> what it depends on directly, sorted."""
    serves: Edges = field(default_factory=dict)
    """Component -> what depends on it directly, sorted."""

    def __contains__(self, component: object) -> bool:
        return component in self.components

    @property
    def places(self) -> frozenset[str]:
        """Names of places, which are never at fault."""
        tied = {name for edges in (self.needs, self.serves) for name, there in edges.items() if there}
        return frozenset(name for name, one in self.components.items() if is_place(one.type, tied=name in tied))

    def dependencies(self, component: str) -> tuple[str, ...]:
        """What it depends on directly."""
        return self.needs.get(component, ())

    def dependents(self, component: str) -> tuple[str, ...]:
        """What depends on it directly."""
        return self.serves.get(component, ())

    def upstream(self, component: str) -> dict[str, int]:
        """Everything that it depends on, with the distance in steps; nearest first."""
        return _reached(self.needs, component)

    def downstream(self, component: str) -> dict[str, int]:
        """Everything that a fault of it can reach, with the distance in steps; nearest first."""
        return _reached(self.serves, component)

    def path(self, component: str, symptom: str) -> tuple[str, ...]:
        """The shortest way on which a fault of ``component`` reaches ``symptom``, both ends named; empty if none."""
        if component not in self.components or symptom not in self.components:
            return ()
        came_from = {component: ""}
        queue = deque([component])
        while queue and symptom not in came_from:
            here = queue.popleft()
            for there in self.dependents(here):
                if there not in came_from:
                    came_from[there] = here
                    queue.append(there)
        steps = [symptom] if symptom in came_from else []
        while steps and came_from[steps[-1]]:
            steps.append(came_from[steps[-1]])
        return tuple(reversed(steps))

    def owners(self, component: str) -> tuple[str, ...]:
        """Party ids and team names that own it."""
        found = self.components.get(component)
        return found.owners if found else ()

    def as_json(self) -> dict[str, Json]:
        """``{"nodes": [{"id","type","env","owners"}], "edges": [[from, to]]}``: ``from`` depends on ``to``."""
        return {
            "nodes": [
                {"id": node.id, "type": node.type, "env": node.env, "owners": list(node.owners)}
                for node in self.components.values()
            ],
            "edges": [[name, needed] for name in self.components for needed in self.dependencies(name)],
        }


_NOTHING = Graph()


class Topology:
    """All graphs of the configuration, by tenant and environment."""

    def __init__(self, graphs: Mapping[tuple[str, str], Graph]) -> None:
        """``graphs`` by (tenant, environment)."""
        self._graphs = dict(graphs)

    @classmethod
    def of(cls, settings: Settings) -> "Topology":
        """Build from the inventory; raises ``BadRequest`` (``config.topology``) for an unknown name or a cycle."""
        seen: dict[tuple[str, str], list[InventoryItem]] = {}
        for item in settings.inventory:
            for tenant in item.tenants or (settings.gate.default_tenant,):
                seen.setdefault((tenant, item.env), []).append(item)
        return cls({place: _graph(place[1], items) for place, items in sorted(seen.items())})

    def graph(self, tenant: str, env: str) -> Graph:
        """The tenant's environment; empty where it sees none of that name."""
        return self._graphs.get((tenant, env), _NOTHING)


def _graph(env: str, items: Iterable[InventoryItem]) -> Graph:
    """One environment from its items."""
    components: dict[str, Component] = {}
    needs: dict[str, set[str]] = {}
    for item in items:
        known = components.get(item.id) or Component(item.id, env, item.type, ())
        owners = tuple(dict.fromkeys((*known.owners, *item.owners)))
        kind = max(known.type, item.type, key=_rank)
        components[item.id] = Component(item.id, env, kind, owners)
        needs.setdefault(item.id, set()).update(item.depends_on)
    for name, wanted in needs.items():
        for missing in sorted(wanted - components.keys()):
            raise _wrong(f"`{name}` in `{env}` depends on `{missing}`, which is not there", "name an item of the same")
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = " -> ".join(f"`{name}`" for name in reversed(error.args[1]))
        raise _wrong(
            f"in `{env}` the dependencies run in a circle: {circle}", "break the circle; all are in one"
        ) from None
    serves: dict[str, set[str]] = {name: set() for name in components}
    for name, wanted in needs.items():
        for needed in wanted:
            serves[needed].add(name)
    return Graph(components, _sorted(needs), _sorted(serves))


def _sorted(edges: Mapping[str, set[str]]) -> Edges:
    """Edges in one order."""
    return {name: tuple(sorted(there)) for name, there in edges.items()}


def _reached(edges: Edges, start: str) -> dict[str, int]:
    """Everything reachable from ``start`` but itself, breadth first."""
    distance = {start: 0}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for there in edges.get(here, ()):
            if there not in distance:
                distance[there] = distance[here] + 1
                queue.append(there)
    del distance[start]
    return distance


def _wrong(detail: str, remedy: str) -> BadRequest:
    """Build the answer to an inventory that is no graph."""
    return BadRequest(
        f"configuration: `inventory`: {detail}", code="config.topology", remedy=f"{remedy} environment and tenant"
    )
