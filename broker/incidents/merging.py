"""When an alert belongs to an incident that is there, and what may be linked to what.

The gate links by these rules alone, which need no judgement:

- Only within one tenant and one environment, and only into an incident that is still worked on and was opened less than
  ``merge_seconds`` ago: an old incident must not swallow what is new.
- An alert of the same service is taken in.
- An alert of a service is taken in by an incident of something that it depends on, by any number of steps: the nearest
  one, of equals the oldest. Never the other way round: an incident of a dependency that comes second stays its own, and
  both are told of each other.

A linked alert is not lost: it is kept whole, its end is watched, and if it still fires when the other incident is
closed, it opens an incident of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from broker.incidents.states import TAKES_IN
from broker.store.incidents import Incident
from broker.topology import Graph


@dataclass(frozen=True, slots=True)
class Merge:
    """Into which incident, and why: the path from its service to the alert's."""

    into: Incident
    why: str
    """``same_service`` or ``dependency``."""
    path: tuple[str, ...]


def merge_of(graph: Graph, service: str, live: Iterable[Incident], *, now_s: int, merge_s: int) -> Merge | None:
    """Return where an alert of ``service`` belongs among the ``live`` incidents of its environment, or None."""
    distance = {service: 0, **graph.upstream(service)}
    fitting = [
        one for one in live if one.state in TAKES_IN and one.service in distance and now_s - one.opened_at < merge_s
    ]
    if not fitting:
        return None
    into = min(fitting, key=lambda one: (distance[one.service], one.opened_at, one.id))
    why = "same_service" if into.service == service else "dependency"
    return Merge(into, why, graph.path(into.service, service) or (service,))


def may_link(graph: Graph, one: Incident, into: Incident) -> bool:
    """Say whether somebody may link ``one`` into ``into``: same service, or one depends on the other."""
    if one.env != into.env or one.id == into.id or not into.live:
        return False
    return one.service == into.service or bool(
        graph.path(one.service, into.service) or graph.path(into.service, one.service)
    )
