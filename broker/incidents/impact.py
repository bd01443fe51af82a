"""What an incident reaches, and who knows about it: from the topology, other incidents, and who acted before."""

from collections.abc import Iterable, Sequence

from broker.model import Json
from broker.store.incidents import Incident
from broker.topology import Graph

ACTS = ("correct", "hand_back", "outside_change", "override", "rule_out", "take_over")
"""Kinds of events that only people cause."""


def impact_of(stands: Incident, graph: Graph, live: Sequence[Incident], linked: Sequence[Incident]) -> dict[str, Json]:
    """Answer "what all is affected": everything that depends on the service, nearest first, and what is wrong there.

    ``depends_on`` is the other direction: where a cause may lie. ``live`` are the open incidents of the environment.
    """

    def named(reached: dict[str, int]) -> list[Json]:
        return [
            {
                "id": name,
                "type": graph.components[name].type,
                "owners": list(graph.owners(name)),
                "distance": distance,
                "incidents": [_brief(one) for one in live if one.service == name and one.id != stands.id],
            }
            for name, distance in reached.items()
        ]

    return {
        "service": stands.service,
        "env": stands.env,
        "known": stands.service in graph,
        "affected": named(graph.downstream(stands.service)),
        "depends_on": named(graph.upstream(stands.service)),
        "linked": [{**_brief(one), "service": one.service, "firing": one.until is None} for one in linked],
    }


def experts_of(
    stands: Incident, graph: Graph, component: str, acts: Iterable[tuple[str, str, str, int]]
) -> list[dict[str, Json]]:
    """Answer "who is the expert here": owners of the cause and of the service, and who acted in its past incidents.

    ``acts`` are (actor, kind, incident, at). Most reasons first, then most acts, then the latest.
    """
    why: dict[str, list[str]] = {}
    for reason, name in (("owner_of_cause", component), ("owner_of_service", stands.service)):
        for owner in graph.owners(name) if name else ():
            why.setdefault(owner, []).append(reason)
    done: dict[str, list[tuple[str, int]]] = {}
    for actor, _, incident, at in acts:
        done.setdefault(actor, []).append((incident, at))
    for actor in done:
        why.setdefault(actor, []).append("acted")
    found: list[dict[str, Json]] = [
        {
            "who": who,
            "why": reasons,
            "acts": len(done.get(who, [])),
            "incidents": len({incident for incident, _ in done.get(who, [])}),
            "last": max((at for _, at in done.get(who, [])), default=None),
        }
        for who, reasons in why.items()
    ]
    return sorted(found, key=lambda one: (-len(one["why"]), -one["acts"], -(one["last"] or 0), one["who"]))


def _brief(one: Incident) -> dict[str, Json]:
    """An incident in short."""
    return {"id": one.id, "state": one.state, "severity": one.severity, "title": one.title}
