"""What is used and what is left: the act ``gate.usage.read``, by agent and model, for an hour, a day or a week.

Tokens and actions are sums over the log's records (``store/logusage.py``), so they can be counted again from the log.
Money is tokens times the configured price, in exact decimals; without a price it is unknown, never zero. What is left of
a limit is read from its counter without taking anything.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from broker.clock import Clock, seconds
from broker.config import PriceSettings
from broker.limits import Limits, bucket_key
from broker.logbook import LogIndex, Names
from broker.model import Json, Limit, Principal
from broker.policy.pdp import PolicyDecisionPoint
from broker.store import Store, logusage

WINDOWS: Mapping[str, tuple[int, int]] = {"hour": (300, 12), "day": (3_600, 24), "week": (86_400, 7)}
"""Window -> seconds of one step and how many steps, the present one included; steps begin at multiples of their length."""
ROWS_MAX = 200
PARTIES_MAX = 20
"""Parties whose own limits are listed: those that used the most."""
CATCH_UP_MAX = 1_000
_MILLION = 1_000_000
_ONCE = {"tenant", "global"}


class Usage:
    """Adds up; counts nothing itself."""

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        store: Store,
        index: LogIndex,
        names: Names,
        limits: Limits,
        policy: PolicyDecisionPoint,
        prices: Sequence[PriceSettings],
        clock: Clock,
    ) -> None:
        self._store = store
        self._index = index
        self._names = names
        self._limits = limits
        self._policy = policy
        self._prices = {one.model: one for one in prices}
        self._clock = clock
        self.acts: Mapping[str, Callable[[Principal, Mapping[str, Any]], Awaitable[Json]]] = {
            "gate.usage.read": self._read
        }

    async def _read(self, principal: Principal, said: Mapping[str, Any]) -> Json:
        tenant = principal.tenant
        step, count = WINDOWS[said["window"]]
        until = (seconds(self._clock) // step + 1) * step
        since = until - step * count
        await self._index.catch_up(tenant, CATCH_UP_MAX)
        found = await self._store.read(lambda c: logusage.sums(c, tenant, step, since, until))
        name_of = await self._names.of(tenant, {one["who"] for one in found})
        rows = self._by_agent_and_model(found, name_of)
        return {
            "window": said["window"],
            "since": since,
            "until": until,
            "step_s": step,
            "models": rows[:ROWS_MAX],
            "left_out": max(0, len(rows) - ROWS_MAX),
            "agents": _by_agent(found, name_of),
            "steps": self._by_step(found, range(since, until, step)),
            "money": self._money(found),
            "unpriced": sorted({one["model"] for one in found if one["model"]} - self._prices.keys()),
            "prices": [one.model_dump() for one in self._prices.values()],
            "limits": await self._rooms(tenant, found),
            **await self._index.progress(tenant),
        }

    def _by_agent_and_model(
        self, found: Sequence[Mapping[str, Any]], name_of: Callable[[str], str]
    ) -> list[dict[str, Json]]:
        """Calls of models, the most tokens first."""
        rows = []
        for (who, model), sums in _added(((one["who"], one["model"]), one) for one in found if one["model"]).items():
            calls = {name: sums[name] for name in ("calls", "uncounted", "tokens_in", "tokens_out")}
            rows.append({"who": who, "name": name_of(who), "model": model, **calls, **self._price(model, sums)})
        return sorted(rows, key=lambda one: (-one["tokens_in"] - one["tokens_out"], one["who"], one["model"]))

    def _by_step(self, found: Sequence[Mapping[str, Any]], steps: Iterable[int]) -> list[dict[str, Json]]:
        """Every step of the window, empty ones too."""
        added = _added((one["at"], one) for one in found)
        by_step: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for one in found:
            by_step[one["at"]].append(one)
        return [
            {
                "at": at,
                **{name: added[at][name] if at in added else 0 for name in logusage.COUNTS},
                "money": self._money(by_step[at]),
            }
            for at in steps
        ]

    def _price(self, model: str, sums: Mapping[str, int]) -> dict[str, Json]:
        """``money`` as exact text and its ``currency``; none where no price is configured."""
        price = self._prices.get(model)
        if price is None:
            return {"money": None, "currency": ""}
        return {"money": f"{_cost(price, sums):f}", "currency": price.currency}

    def _money(self, found: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
        """Totals by currency, of the models that have a price."""
        totals: defaultdict[str, Decimal] = defaultdict(Decimal)
        for one in found:
            price = self._prices.get(one["model"])
            if price is not None:
                totals[price.currency] += _cost(price, one)
        return {currency: f"{total:f}" for currency, total in sorted(totals.items())}

    async def _rooms(self, tenant: str, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Json]]:
        """What is left of the tenant's limits, and of those of the parties that used the most."""
        used = {
            who: sums["tokens_in"] + sums["tokens_out"] + sums["actions"]
            for who, sums in _added((one["who"], one) for one in found).items()
        }
        most = sorted(used, key=lambda who: (-used[who], who))[:PARTIES_MAX]
        parties = await self._store.read(lambda c: logusage.some(c, tenant, most))
        rooms = await self.rooms(tenant, "", "", "")
        for who in most:
            known = parties.get(who)
            if known and known["name"]:
                rooms += await self.rooms(tenant, known["name"], known["kind"], who)
        return rooms

    async def rooms(self, tenant: str, party: str, kind: str, who: str) -> list[dict[str, Json]]:
        """What is left of a party's own limits; without a party, of those of the tenant. Takes nothing."""
        active = self._policy.active
        wanted = {"actor"} if party else _ONCE
        limits = []
        for name, one in sorted((active.content.config.get("limits", {}) if active else {}).items()):
            if one["scope"] in wanted and (not kind or kind in one["holders"]):
                # The cost is the request's; a look costs nothing.
                limits.append((Limit(name, one["scope"], one["max"], one["window_s"], one["burst"], 0), one["cost"]))
        keyed = [(limit, bucket_key(limit.scope, limit.name, *([party] if party else []))) for limit, _ in limits]
        left = await self._limits.rooms(tenant, keyed, self._clock.now_ns())
        return [
            {
                "limit": limit.name,
                "scope": limit.scope,
                "who": who,
                "name": party,
                "unit": "tokens" if cost == "max_tokens" else "requests",
                "max": limit.max,
                "window_s": limit.window_s,
                "burst": room.burst,
                "left": room.left,
                "full_in_s": room.full_in_s,
            }
            for (limit, cost), room in zip(limits, left, strict=True)
        ]

    async def of(self, tenant: str, who: str, days: int) -> dict[str, int]:
        """What one party did in the last days (UTC), today included, by the names of ``logusage.COUNTS``."""
        step = WINDOWS["week"][0]
        until = (seconds(self._clock) // step + 1) * step
        found = await self._store.read(lambda c: logusage.sums(c, tenant, step, until - days * step, until))
        return _added(("", one) for one in found if one["who"] == who).get("", dict.fromkeys(logusage.COUNTS, 0))


def _by_agent(found: Sequence[Mapping[str, Any]], name_of: Callable[[str], str]) -> list[dict[str, Json]]:
    """What each did beside calling models, the most actions first."""
    added = _added((one["who"], one) for one in found if not one["model"])
    rows = [
        {"who": who, "name": name_of(who), **{name: sums[name] for name in ("actions", "writes", "refusals")}}
        for who, sums in added.items()
    ]
    return sorted(rows, key=lambda one: (-one["actions"], -one["refusals"], one["who"]))[:ROWS_MAX]


def _added(found: Iterable[tuple[Any, Mapping[str, Any]]]) -> dict[Any, dict[str, int]]:
    """Sums by key."""
    sums: dict[Any, dict[str, int]] = {}
    for key, one in found:
        here = sums.setdefault(key, dict.fromkeys(logusage.COUNTS, 0))
        for name in logusage.COUNTS:
            here[name] += one[name]
    return sums


def _cost(price: PriceSettings, sums: Mapping[str, Any]) -> Decimal:
    """Exact: prices are decimals a million tokens."""
    taken = Decimal(price.input_per_million) * Decimal(sums["tokens_in"])
    given = Decimal(price.output_per_million) * Decimal(sums["tokens_out"])
    return (taken + given) / _MILLION
