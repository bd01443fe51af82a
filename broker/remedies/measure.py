"""Service levels as the gate reads them: from an entry of ``config/slis`` to one exact number, or None.

A counter's growth is reset-aware: a value below the one before it counts from zero. EMPTY is nothing, so no failures
where there is traffic; ERROR, TRUNCATED and what cannot be read as a number are no measurement.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

import orjson

from broker.catalog import Catalog
from broker.clock import Clock
from broker.errors import BrokerError
from broker.evidence import Claim, judge_claim
from broker.evidence.quantities import Unverifiable, number_of
from broker.evidence.stages import evaluate
from broker.evidence.syntax import parse
from broker.model import Json
from broker.remedies.catalogue import Inventory
from broker.remedies.situations import Look, seen_as
from broker.remedies.undo import verifier
from broker.topology import Graph

PLACES = Decimal("0.000001")
Slis = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Spot:
    """One service level on one component, at ``env``."""

    component: str
    env: str
    type: str
    dependent: bool
    sli: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How it is called beside its component."""
        return f"{self.component}.{self.type}.{self.sli['name']}"


class Measuring:
    """Reads service levels through the pipeline, each read with its own decision and records, and each only once."""

    def __init__(
        self,
        *,
        look: Look,
        slis: Callable[[], Slis],
        catalog: Callable[[], Catalog],
        inventory: Inventory,
        clock: Clock,
    ) -> None:
        """``slis()`` is ``config/slis`` of the active bundle."""
        self._look = look
        self._slis = slis
        self._catalog = catalog
        self._inventory = inventory
        self._clock = clock

    def spots(self, tenant: str, env: str, component: str, graph: Graph) -> list[Spot]:
        """Every service level of the component and of what directly depends on it."""
        return [
            Spot(name, env, kind, name != component, sli)
            for name in (component, *graph.dependents(component))
            for kind, levels in sorted(self._slis().items())
            if self._inventory(tenant, kind, name, env) is not None
            for sli in levels
        ]

    async def value(  # noqa: PLR0913 - one keyword a part
        self, tenant: str, session: str, spot: Spot, *, at: int, step: str, since: int = 0
    ) -> Decimal | None:
        """The level at the unix second ``at``, of nothing before ``since``: the trouble before a remedy is not its own.

        ``step`` names the sample: the same one is read once and kept.
        """
        span = (max(at - spot.sli["lookback_s"], since), at)
        ((form, value),) = spot.sli["value"].items()
        if form == "ratio":
            above = await self._answer(tenant, session, spot, value[0], span, step)
            below = await self._answer(tenant, session, spot, value[1], span, step)
            return ratio(above, below)
        answer = await self._answer(tenant, session, spot, value, span, step)
        if answer is None or answer["result"]["status"] not in {"ok", "empty"}:
            return None
        if form == "equals":
            claim = Claim("", value["selector"], "eq", value["is"])
            verdict = judge_claim(claim, seen_as(self._catalog(), value["action"], answer)).verdict
            return {"verified": Decimal(1), "refuted": Decimal(0)}.get(verdict)
        return number_at(value["selector"], answer["result"])

    async def _answer(  # noqa: PLR0913, PLR0917 - one argument a part
        self, tenant: str, session: str, spot: Spot, read: Mapping[str, Any], span: tuple[int, int], step: str
    ) -> Mapping[str, Any] | None:
        """The API's answer to one read; None where the gate refused it or nothing answered."""
        known: dict[str, Json] = {"component": spot.component, "env": spot.env}
        known |= {"from": span[0], "to": span[1]}
        resource = {"type": spot.type, "id": spot.component} | {
            name: filled(text, known) for name, text in read.get("resource", {}).items()
        }
        asked: dict[str, Json] = {
            "action": read["action"],
            "resource": resource | {"env": spot.env},
            "arguments": {name: filled(template, known) for name, template in read["arguments"].items()},
        }
        key = hashlib.sha256(orjson.dumps([spot.name, asked], option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]
        try:
            return await self._look(
                verifier(tenant, self._clock),
                **asked,
                session=session,
                reason=f"service level {spot.name}",
                idempotency_key=f"{step}.{key}",
            )
        except BrokerError:
            return None


def filled(template: Json, known: Mapping[str, Json]) -> Json:
    """``template`` with its holes filled; one that is a hole and nothing else keeps its value's type."""
    if isinstance(template, Mapping):
        return {name: filled(child, known) for name, child in template.items()}
    if not isinstance(template, str):
        return template
    if template.startswith("{") and template[1:-1] in known:
        return known[template[1:-1]]
    for name, value in known.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def ratio(above: Mapping[str, Any] | None, below: Mapping[str, Any] | None) -> Decimal | None:
    """Growth over growth, rounded to six places; None without traffic, or where either could not be measured."""
    whole = _growth(below)
    part = _growth(above)
    if whole is None or part is None or whole <= 0:
        return None
    return (part / whole).quantize(PLACES)


def growth(series: Sequence[Mapping[str, Any]]) -> Decimal | None:
    """How much the counters of ``series`` grew together; None where none has two points."""
    grown = [one for one in (_grown(list(_values(each))) for each in series) if one is not None]
    return sum(grown, Decimal(0)) if grown else None


def number_at(selector: str, result: Mapping[str, Any]) -> Decimal | None:
    """The one number that ``selector`` gives; None for none, several, or no number."""
    try:
        nodes = evaluate(parse(selector), result["value"], empty=result["status"] == "empty")
    except Unverifiable:
        return None
    return number_of(getattr(nodes[0], "value", nodes[0])) if len(nodes) == 1 else None


def _growth(answer: Mapping[str, Any] | None) -> Decimal | None:
    """Growth of a read's series; nothing where it is EMPTY, None where it is no answer."""
    if answer is None or answer["result"]["status"] not in {"ok", "empty"}:
        return None
    if answer["result"]["status"] == "empty":
        return Decimal(0)
    value = answer["result"]["value"]
    return growth(value["series"]) if isinstance(value, Mapping) and "series" in value else None


def _values(one: Mapping[str, Any]) -> Iterator[Decimal]:
    """A series' values in order of time; a point that is no number is left out."""
    for point in one.get("points", ()):
        try:
            value = Decimal(str(point[1]))
        except (InvalidOperation, IndexError, TypeError):
            continue
        if value.is_finite():
            yield value


def _grown(values: Sequence[Decimal]) -> Decimal | None:
    """Growth of one counter, resets seen."""
    if len(values) < 2:
        return None
    return sum((after - before if after >= before else after for before, after in pairwise(values)), Decimal(0))
