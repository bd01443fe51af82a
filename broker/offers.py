"""What there is to ask for: every declared action, or those that policy could permit one principal, and where.

An offer is no permit: the same request is decided when it is made. An action is left out where policy answers with a
reason that stands whatever the arguments, the target's state and the moment are (``standing`` in ``config/reasons``): no
grant, a party that is refused by name, a person's own work. Everything else stays, because it may pass another time.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.catalog import Action, Catalog
from broker.clock import Clock, seconds
from broker.connectors.base import Connector
from broker.errors import BadRequest, Conflict, Reason
from broker.model import Json, Principal, Resource
from broker.policy.bundle import Bundle
from broker.policy.facts import build as build_input
from broker.policy.pdp import PolicyDecisionPoint
from broker.reading import GATE

Act = Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]
ACTION_ID = "act_offered"
KEPT_SECONDS = 60.0
"""So long one answer serves the same principal; it ends at once with the policy that it is of."""
PRINCIPALS_MAX = 512


@dataclass(frozen=True, slots=True)
class Offer:
    """An action that policy could permit, and where: pairs of resource type and environment."""

    action: str
    places: tuple[tuple[str, str], ...]


class Offers:
    """Answers ``gate.catalog.read``."""

    def __init__(
        self,
        *,
        policy: PolicyDecisionPoint,
        inventory: Callable[[str], Sequence[Resource]],
        connectors: Callable[[], Mapping[str, Connector]],
        clock: Clock,
    ) -> None:
        """``inventory(tenant)`` lists what the tenant may see."""
        self._policy = policy
        self._inventory = inventory
        self._connectors = connectors
        self._clock = clock
        self._kept: OrderedDict[tuple[Json, ...], tuple[float, tuple[Offer, ...]]] = OrderedDict()
        self.acts: Mapping[str, Act] = {"gate.catalog.read": self._read}

    async def of(self, principal: Principal) -> tuple[Offer, ...]:
        """Every action that policy could permit ``principal``, by name.

        Raises ``PolicyUnavailable``, and ``Conflict`` (``policy.changed``) where the policy changed under the answer.
        """
        active = self._policy.active
        digest = active.digest if active else ""
        key = (digest, principal.tenant, principal.parties, principal.scopes, principal.acr)
        kept = self._kept.get(key)
        if kept is None or self._clock.monotonic() >= kept[0]:
            catalog = self._policy.catalog
            found = [await self._offer(principal, catalog, one, active) for one in catalog.actions()]
            if active is not self._policy.active:
                raise Conflict("the policy changed meanwhile", code="policy.changed", remedy="ask again")
            kept = (self._clock.monotonic() + KEPT_SECONDS, tuple(one for one in found if one.places))
            self._kept[key] = kept
            if len(self._kept) > PRINCIPALS_MAX:
                self._kept.popitem(last=False)
        return kept[1]

    async def _read(self, principal: Principal, arguments: Mapping[str, Any]) -> Json:
        """Every declared action, or the names of those that policy could permit the asker."""
        if arguments["offered"]:
            offers = await self.of(principal)
            return {"offers": [{"name": one.action, "places": [list(place) for place in one.places]} for one in offers]}
        actions = [
            {
                "name": one.name,
                "title": one.title,
                "effect": one.effect.value,
                "reversibility": one.reversibility,
                "arguments": dict(one.schema),
                "resource_types": list(one.resource_types),
                "signal": one.signal,
            }
            for one in self._policy.catalog.actions()
        ]
        return {"actions": actions}

    async def _offer(self, principal: Principal, catalog: Catalog, action: Action, active: Bundle | None) -> Offer:
        """``action`` with the places where policy could permit it; none where it never does."""
        places: list[tuple[str, str]] = []
        for resource in self._candidates(principal.tenant, action):
            decision = await self._policy.decide(self._sheet(principal, catalog, action, resource))
            if decision.permitted or not stands(decision.reasons, active):
                places.append((resource.type, resource.env))
        return Offer(action.name, tuple(places))

    def _candidates(self, tenant: str, action: Action) -> list[Resource]:
        """One resource of each type and environment that the action can be done to."""
        if GATE.type in action.resource_types:
            return [GATE]
        found: dict[tuple[str, str], Resource] = {}
        for resource in self._inventory(tenant):
            if not action.resource_types or resource.type in action.resource_types:
                found.setdefault((resource.type, resource.env), resource)
        return [found[place] for place in sorted(found)]

    def _sheet(self, principal: Principal, catalog: Catalog, action: Action, resource: Resource) -> dict[str, Any]:
        """Policy's input as if the action were asked for there, with nothing said and nothing used up."""
        request = catalog.request(
            action_id=ACTION_ID,
            tenant=principal.tenant,
            requester=principal.acting.id,
            session="",
            action=action.name,
            resource=resource,
            arguments={},
        )
        connector = self._connectors().get(action.connector)
        try:
            endpoint = connector.endpoint(request) if connector else {}
        except BadRequest:
            endpoint = {}  # it hangs on arguments that are not there
        return build_input(
            principal=principal,
            session=None,
            request=request,
            action=action,
            endpoint=endpoint,
            killed=False,
            usage={},
            approvals=[],
            now=seconds(self._clock),
        )


def stands(found: Sequence[Reason], active: Bundle | None) -> bool:
    """Whether a no for these reasons is one for every such request of the same parties there."""
    reasons: Mapping[str, Any] = active.content.config.get("reasons", {}) if active else {}
    return any(reasons.get(one.code, {}).get("standing", False) for one in found)
