"""The catalogue of remedies: which write heals which fault, and the exact request that a diagnosis derives.

A remedy is the key ``remedy`` of an action's manifest. Its templates name ``{component}``, ``{service}``, ``{env}``,
``{fault}`` and ``{cited.NAME}``: the one value that verified claims of the diagnosis give under a selector that ends in
``NAME``. Nothing else of what an agent says enters a derived request.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.catalog import Action, Catalog
from broker.errors import BadRequest
from broker.model import ActionRequest, Json, Resource
from broker.topology import Graph

_HOLE = re.compile(r"\{([a-z_]+(?:\.[a-z_]+)?)\}")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)$")
Inventory = Callable[[str, str, str, str], Resource | None]
"""(tenant, type, id, env) -> the inventory's entry."""


@dataclass(frozen=True, slots=True)
class Times:
    """When a remedy is measured, in seconds."""

    settle: int
    window: int
    interval: int

    @property
    def samples(self) -> int:
        """How many samples the window holds; two at least, or nothing could be said to last."""
        return max(2, self.window // self.interval)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a remedy is derived from: the diagnosis, and where the incident is."""

    tenant: str
    env: str
    service: str
    component: str
    fault: str
    claims: Iterable[Mapping[str, Json]] = ()


@dataclass(frozen=True, slots=True)
class Derived:
    """The request that the catalogue makes of a diagnosis. ``open`` names what it leaves to the asker."""

    resource: Mapping[str, str]
    arguments: Mapping[str, Json]
    open: tuple[str, ...]


def times_of(
    action: Action, *, settle: int | None = None, window: int | None = None, interval: int | None = None
) -> Times:
    """When this remedy is measured, by its manifest; what is given instead holds."""
    asked: Mapping[str, Any] = (action.remedy or {}).get("verification", {})
    return Times(
        settle=asked.get("settle_s", 0) if settle is None else settle,
        window=asked.get("window_s", 600) if window is None else window,
        interval=asked.get("interval_s", 30) if interval is None else interval,
    )


def derive(action: Action, finding: Finding, graph: Graph, inventory: Inventory) -> Derived:
    """Fill in the remedy's templates; what cannot be filled in is left out and named in ``open``."""
    remedy: Mapping[str, Any] = action.remedy or {}
    known = _known(finding)
    type_ = remedy["resource"]["type"]
    resource = {"type": type_, "env": finding.env}
    id_ = _filled(remedy["resource"]["id"], known)
    left = []
    if id_ is None or (named := _resource_of(type_, id_, finding, graph, inventory)) is None:
        left.append("resource")
    else:
        resource["id"] = named
    arguments: dict[str, Json] = {}
    for name, template in remedy["arguments"].items():
        value = _filled(template, known) if isinstance(template, str) else template
        if value is None:
            left.append(name)
        else:
            arguments[name] = value
    left += [name for name in action.schema["required"] if name not in remedy["arguments"]]
    return Derived(resource, arguments, tuple(left))


def is_derived(catalog: Catalog, action: Action, request: ActionRequest, derived: Derived) -> bool:
    """Whether ``request`` is exactly what the catalogue derives, with nothing left to the asker."""
    return not derived.open and same_target(request, derived) and same_arguments(catalog, action, request, derived)


def same_target(request: ActionRequest, derived: Derived) -> bool:
    """Whether ``request`` is about the resource that the catalogue derives."""
    asked = {"type": request.resource.type, "id": request.resource.id, "env": request.resource.env}
    return asked == derived.resource


def same_arguments(catalog: Catalog, action: Action, request: ActionRequest, derived: Derived) -> bool:
    """Whether the arguments are the derived ones, defaults filled in."""
    try:
        return catalog.complete(action.name, request.resource, derived.arguments) == dict(request.arguments)
    except BadRequest:
        return False


def remedies_for(
    catalog: Catalog, graph: Graph, inventory: Inventory, finding: Finding, *, fitting: bool = False
) -> list[dict[str, Json]]:
    """The catalogue as agents and pages see it, by action; ``fitting`` leaves only those for the fault that was found.

    Each: ``{"action","title","faults","resource","arguments","open","reversibility","idempotent","preconditions",
    "cooldown_s","per_hour_max","verification"}``. Without a diagnosis the templates stay open.
    """
    found = []
    for action in catalog.actions():
        if action.remedy is None or (fitting and finding.fault not in action.remedy["faults"]):
            continue
        derived = derive(action, finding, graph, inventory)
        found.append(
            {
                "action": action.name,
                "title": action.title,
                "faults": list(action.remedy["faults"]),
                "resource": dict(derived.resource),
                "arguments": dict(derived.arguments),
                "open": list(derived.open),
                "reversibility": action.reversibility,
                "idempotent": action.idempotent,
                "preconditions": list(action.remedy.get("preconditions", ())),
                "cooldown_s": action.remedy["cooldown_s"],
                "per_hour_max": action.remedy["per_hour_max"],
                "verification": dict(action.remedy["verification"]),
            }
        )
    return found


def _known(finding: Finding) -> dict[str, str]:
    """Values by the names that templates use."""
    known = {
        "component": finding.component,
        "service": finding.service,
        "env": finding.env,
        "fault": finding.fault,
    }
    cited: dict[str, set[str]] = {}
    for claim in finding.claims:
        end = _FIELD.search(str(claim.get("selector", "")))
        actual = claim.get("actual")
        if claim.get("verdict") == "verified" and claim.get("op") == "eq" and end and isinstance(actual, str):
            cited.setdefault(f"cited.{end.group(1)}", set()).add(actual)
    known |= {name: next(iter(values)) for name, values in cited.items() if len(values) == 1}
    return {name: value for name, value in known.items() if value}


def _filled(template: str, known: Mapping[str, str]) -> str | None:
    """``template`` with its holes filled; None where one cannot be."""
    holes = _HOLE.findall(template)
    if any(hole not in known for hole in holes):
        return None
    return _HOLE.sub(lambda hole: known[hole.group(1)], template)


def _resource_of(type_: str, id_: str, finding: Finding, graph: Graph, inventory: Inventory) -> str | None:
    """The component's own resource of this type, else the one of the only thing it directly depends on that has one."""
    if inventory(finding.tenant, type_, id_, finding.env) is not None:
        return id_
    near = [name for name in graph.dependencies(id_) if inventory(finding.tenant, type_, name, finding.env) is not None]
    return near[0] if len(near) == 1 else None
